"""fold_sampled: the sampled token's log-probability without the logits."""

import math

import pytest
import torch

from cascadia_kernels import BEST_PAIRS, STEP_VALUES, fold_sampled, row_statistics, row_summary
from cascadia_kernels.reference import reference_logprob
from cascadia_kernels.testing import TOLERANCES, assert_near, make_logits, make_temperatures

LOGPROB, KNOWN = STEP_VALUES.index("logprob"), STEP_VALUES.index("known")


def tokens_of_rank(logits_BV: torch.Tensor, rank: int) -> torch.Tensor:
    """The token whose logit is the `rank`-th largest of its row, [B]."""
    return logits_BV.float().sort(dim=-1, descending=True, stable=True).indices[:, rank]


def sampler_probability(
    logits_BV: torch.Tensor, tokens_B: torch.Tensor, temperature_B: torch.Tensor | None
) -> torch.Tensor:
    """What the sampler's buffer holds for the sampled token, computed in float32."""
    if temperature_B is not None:
        logits_BV = logits_BV.float() / temperature_B.unsqueeze(-1)
    return logits_BV.float().softmax(dim=-1).gather(1, tokens_B.unsqueeze(-1)).squeeze(-1)


def test_a_token_among_the_best_pairs_has_its_exact_logprob(
    rows: int, columns: int, dtype: torch.dtype, device: torch.device
) -> None:
    logits_BV = make_logits(rows, columns, dtype)
    statistics = row_statistics(logits_BV.to(device))
    tokens_B = row_summary(statistics).best_ids_BK[:, -1]
    values_B5 = fold_sampled(statistics, tokens_B, None, None)
    assert values_B5.shape == (rows, len(STEP_VALUES))
    for row, logits in enumerate(logits_BV.double().tolist()):
        expected = reference_logprob(logits, int(tokens_B[row]))
        assert_near(values_B5[row, LOGPROB].item(), expected, TOLERANCES[dtype], f"row {row}")
    assert values_B5[:, KNOWN].tolist() == [1.0] * rows


@pytest.mark.parametrize(("height", "width"), [(1, 17), (2, 20011)])
@pytest.mark.parametrize("tempered", [False, True], ids=["temperature-1", "own-temperature"])
def test_a_token_outside_the_best_pairs_is_recovered_from_the_samplers_probability(
    height: int, width: int, tempered: bool, device: torch.device
) -> None:
    logits_BV = make_logits(height, width)
    tokens_B = tokens_of_rank(logits_BV, BEST_PAIRS)
    temperature_B = 0.5 + make_temperatures(height) if tempered else None
    probability_B = sampler_probability(logits_BV, tokens_B, temperature_B).to(device)
    given_B = None if temperature_B is None else temperature_B.to(device)
    statistics = row_statistics(logits_BV.to(device), given_B)
    values_B5 = fold_sampled(statistics, tokens_B.to(device), probability_B, given_B)
    for row, logits in enumerate(logits_BV.double().tolist()):
        expected = reference_logprob(logits, int(tokens_B[row]))
        # Two float32 softmaxes lie between the probability and the logit.
        assert values_B5[row, LOGPROB].item() == pytest.approx(expected, abs=1e-4)
    assert values_B5[:, KNOWN].tolist() == [1.0] * height


def test_the_best_pairs_win_over_the_samplers_probability(device: torch.device) -> None:
    logits_BV = make_logits(2, 100).to(device)
    statistics = row_statistics(logits_BV)
    tokens_B = row_summary(statistics).best_ids_BK[:, 0]
    misleading_B = torch.full((2,), 0.123, device=device)
    values_B5 = fold_sampled(statistics, tokens_B, misleading_B, None)
    torch.testing.assert_close(values_B5[:, LOGPROB], row_summary(statistics).top1_logprob_B)


def test_without_a_probability_the_least_best_logit_bounds_the_logprob(
    device: torch.device,
) -> None:
    logits_BV = make_logits(2, 100).to(device)
    statistics = row_statistics(logits_BV)
    tokens_B = tokens_of_rank(logits_BV, 40)
    values_B5 = fold_sampled(statistics, tokens_B, None, None)
    summary = row_summary(statistics)
    bound_B = summary.best_logits_BK[:, -1] - summary.logsumexp_B
    exact_B = logits_BV.log_softmax(dim=-1).gather(1, tokens_B.unsqueeze(-1)).squeeze(-1)
    assert torch.equal(values_B5[:, LOGPROB], bound_B)
    assert bool((bound_B > exact_B).all())
    assert values_B5[:, KNOWN].tolist() == [0.0] * 2


@pytest.mark.parametrize("probability", [0.0, math.nan], ids=["zero", "nan"])
def test_a_useless_probability_leaves_the_bound(probability: float, device: torch.device) -> None:
    logits_BV = make_logits(3, 100).to(device)
    statistics = row_statistics(logits_BV)
    tokens_B = tokens_of_rank(logits_BV, 40)
    useless_B = torch.full((3,), probability, device=device)
    values_B5 = fold_sampled(statistics, tokens_B, useless_B, None)
    assert torch.equal(values_B5, fold_sampled(statistics, tokens_B, None, None))


def test_known_says_row_by_row_whether_the_logprob_is_exact(device: torch.device) -> None:
    logits_BV = make_logits(3, 100).to(device)
    statistics = row_statistics(logits_BV)
    outside_B = tokens_of_rank(logits_BV, 40)
    tokens_B = torch.stack((row_summary(statistics).best_ids_BK[0, 3], outside_B[1], outside_B[2]))
    probability_B = sampler_probability(logits_BV, tokens_B, None)
    probability_B[2] = 0.0
    values_B5 = fold_sampled(statistics, tokens_B, probability_B, None)
    assert values_B5[:, KNOWN].tolist() == [1.0, 1.0, 0.0]


def test_the_other_step_values_are_the_rows_statistics(device: torch.device) -> None:
    logits_BV = make_logits(2, 100).to(device)
    statistics = row_statistics(logits_BV)
    values_B5 = fold_sampled(statistics, row_summary(statistics).best_ids_BK[:, 0], None, None)
    for name in ("entropy", "margin", "self_certainty"):
        column = STEP_VALUES.index(name)
        assert torch.equal(values_B5[:, column], getattr(row_summary(statistics), f"{name}_B")), (
            name
        )


def test_int32_token_ids_give_the_same_values(device: torch.device) -> None:
    logits_BV = make_logits(2, 100).to(device)
    statistics = row_statistics(logits_BV)
    tokens_B = row_summary(statistics).best_ids_BK[:, 5]
    expected = fold_sampled(statistics, tokens_B, None, None)
    assert torch.equal(fold_sampled(statistics, tokens_B.to(torch.int32), None, None), expected)


def test_a_nan_row_is_nan_and_leaves_the_others_as_they_are(device: torch.device) -> None:
    logits_BV = make_logits(3, 100)
    tokens_B = tokens_of_rank(logits_BV, 20).to(device)
    whole = fold_sampled(row_statistics(logits_BV.to(device)), tokens_B, None, None)
    logits_BV[1, 3] = math.nan
    broken = fold_sampled(row_statistics(logits_BV.to(device)), tokens_B, None, None)
    assert torch.equal(broken[[0, 2]], whole[[0, 2]])
    assert broken[1, LOGPROB].isnan()


@pytest.mark.usefixtures("threads")
def test_a_row_is_bit_identical_alone_and_in_any_batch(device: torch.device) -> None:
    logits_BV = make_logits(4, 200).to(device)
    temperature_B = make_temperatures(4).to(device)
    statistics = row_statistics(logits_BV, temperature_B)
    tokens_B = torch.randint(200, (4,), generator=torch.Generator().manual_seed(1)).to(device)
    probability_B = sampler_probability(logits_BV, tokens_B, temperature_B)
    together = fold_sampled(statistics, tokens_B, probability_B, temperature_B)
    for row in range(4):
        one = slice(row, row + 1)
        alone = fold_sampled(
            row_statistics(logits_BV[one], temperature_B[one]),
            tokens_B[one],
            probability_B[one],
            temperature_B[one],
        )
        assert torch.equal(together[one], alone), row


def test_the_values_are_fresh_memory(device: torch.device) -> None:
    logits_BV = make_logits(3, 100).to(device)
    statistics = row_statistics(logits_BV)
    before = row_summary(statistics)
    fold_sampled(statistics, row_summary(statistics).best_ids_BK[:, 0], None, None).fill_(7.0)
    assert all(torch.equal(a, b) for a, b in zip(row_summary(statistics), before, strict=True))


def test_the_samplers_buffer_says_what_its_column_of_the_token_says(device: torch.device) -> None:
    logits_BV = make_logits(3, 100)
    temperature_B = 0.5 + make_temperatures(3)
    tokens_B = tokens_of_rank(logits_BV, 40)
    buffer_BV = (logits_BV / temperature_B.unsqueeze(-1)).softmax(dim=-1)
    probability_B = buffer_BV.gather(1, tokens_B.unsqueeze(-1)).squeeze(-1)
    statistics = row_statistics(logits_BV.to(device), temperature_B.to(device))
    both = [
        fold_sampled(statistics, tokens_B.to(device), given.to(device), temperature_B.to(device))
        for given in (probability_B, buffer_BV)
    ]
    assert torch.equal(*both)
    assert both[0][:, KNOWN].tolist() == [1.0] * 3


def test_an_unusable_probability_counts_for_its_row_alone(device: torch.device) -> None:
    logits_BV = make_logits(3, 100)
    tokens_B = tokens_of_rank(logits_BV, 40)
    probability_B = sampler_probability(logits_BV, tokens_B, None).to(device)
    statistics = row_statistics(logits_BV.to(device))
    tokens_B = tokens_B.to(device)
    unusable_B = torch.tensor([False, True, False], device=device)
    values_B5 = fold_sampled(statistics, tokens_B, probability_B, None, unusable_B)
    assert values_B5[:, KNOWN].tolist() == [1.0, 0.0, 1.0]
    assert torch.equal(values_B5[1], fold_sampled(statistics, tokens_B, None, None)[1])


@pytest.mark.parametrize(
    ("tokens", "probability", "shown"),
    [((3,), None, [3]), ((2,), (3,), [3]), ((2,), (2, 19), [2, 19])],
    ids=["tokens", "probabilities", "columns"],
)
def test_a_shape_that_does_not_match_is_refused(
    tokens: tuple[int], probability: tuple[int, ...] | None, shown: list[int], device: torch.device
) -> None:
    statistics = row_statistics(make_logits(2, 20).to(device))
    given = None if probability is None else torch.ones(probability, device=device)
    with pytest.raises(ValueError, match="fold_sampled takes") as raised:
        fold_sampled(statistics, torch.zeros(tokens, dtype=torch.int64, device=device), given, None)
    assert str(raised.value).endswith(f"got {shown}")
