"""Probabilities that are cut to the likeliest tokens."""

import pytest
import torch

from cascadia_sglang.cpu_speculation.probability_cuts import top_k_renorm, top_p_renorm

ROWS = torch.tensor([[0.1, 0.4, 0.2, 0.3], [0.25, 0.25, 0.25, 0.25], [0.0, 1.0, 0.0, 0.0]])


def test_the_k_likeliest_tokens_are_kept() -> None:
    renormed = top_k_renorm(ROWS, torch.tensor([2, 4, 1 << 30]))
    torch.testing.assert_close(renormed[0], torch.tensor([0.0, 4 / 7, 0.0, 3 / 7]))
    torch.testing.assert_close(renormed[1:], ROWS[1:])


@pytest.mark.parametrize(
    ("p", "kept_ids"),
    [(0.0, [1]), (0.39, [1]), (0.5, [1, 3]), (0.8, [1, 2, 3]), (1.0, [0, 1, 2, 3])],
)
def test_the_tokens_are_kept_that_reach_p(p: float, kept_ids: list[int]) -> None:
    (renormed,) = top_p_renorm(ROWS[:1], torch.tensor([p]))
    expected = torch.zeros(4)
    expected[kept_ids] = ROWS[0, kept_ids] / ROWS[0, kept_ids].sum()
    torch.testing.assert_close(renormed, expected)


def test_the_cuts_are_those_of_sglangs_sampler() -> None:
    """Its PyTorch form, by the tokens that it ever draws."""
    from sglang.srt.layers.sampler import top_k_top_p_min_p_sampling_from_probs_torch

    generator = torch.Generator().manual_seed(0)
    probabilities = (3.0 * torch.randn(1, 12, generator=generator)).softmax(dim=-1)
    for top_k, top_p in ((3, 1.0), (1 << 30, 0.7)):
        rows = probabilities.repeat(2000, 1)
        drawn = top_k_top_p_min_p_sampling_from_probs_torch(
            rows,
            torch.full((2000,), top_k),
            torch.full((2000,), top_p),
            torch.zeros(2000),
            False,
            None,
            torch.zeros(2000, dtype=torch.int64),
        )
        cut = top_k_renorm if top_p == 1.0 else top_p_renorm
        cut_V = cut(probabilities, torch.tensor([top_k if top_p == 1.0 else top_p]))[0]
        assert set(drawn.flatten().tolist()) <= set(cut_V.nonzero().flatten().tolist())
        likely = (cut_V > 0.01).nonzero().flatten().tolist()
        assert set(likely) <= set(drawn.flatten().tolist())
