"""fold_sampled: the sampled token's log-probability without the logits."""

import math

import pytest
import torch

from cascadia_kernels.fold_sampled import fold_sampled
from cascadia_kernels.layout import STEP_VALUES, KeptLogits
from cascadia_kernels.reference import reference_logprob
from cascadia_kernels.row_statistics import row_statistics
from cascadia_kernels.row_summary import row_summary
from cascadia_kernels.testing import TOLERANCES, assert_near, make_logits, make_temperatures

LOGPROB, KNOWN = STEP_VALUES.index("logprob"), STEP_VALUES.index("known")


def tokens_of_rank(logits_BV: torch.Tensor, rank: int) -> torch.Tensor:
    """The token whose logit is the `rank`-th largest of its row, [B]."""
    return logits_BV.float().sort(dim=-1, descending=True, stable=True).indices[:, rank]


def sampler_buffer(logits_BV: torch.Tensor, temperature_B: torch.Tensor | None) -> torch.Tensor:
    """The probabilities that the sampler leaves, computed in float32, [B, V]."""
    if temperature_B is not None:
        logits_BV = logits_BV.float() / temperature_B.unsqueeze(-1)
    return logits_BV.float().softmax(dim=-1)


def keep(logits_BV: torch.Tensor, rows: list[int]) -> KeptLogits:
    """Copies of some rows."""
    places = [rows.index(row) if row in rows else -1 for row in range(len(logits_BV))]
    places_B = torch.tensor(places, dtype=torch.int32, device=logits_BV.device)
    return KeptLogits(logits_BV[rows].clone(), places_B)


def test_the_best_token_has_its_exact_logprob(
    rows: int, columns: int, dtype: torch.dtype, device: torch.device
) -> None:
    logits_BV = make_logits(rows, columns, dtype)
    statistics = row_statistics(logits_BV.to(device))
    tokens_B = row_summary(statistics).best_ids_B
    values_B5 = fold_sampled(statistics, tokens_B, None, None)
    assert values_B5.shape == (rows, len(STEP_VALUES))
    for row, logits in enumerate(logits_BV.double().tolist()):
        expected = reference_logprob(logits, int(tokens_B[row]))
        assert_near(values_B5[row, LOGPROB].item(), expected, TOLERANCES[dtype], f"row {row}")
    assert values_B5[:, KNOWN].tolist() == [1.0] * rows


@pytest.mark.parametrize("rank", [1, 2, 12])
@pytest.mark.parametrize(("height", "width"), [(1, 17), (2, 20011)])
@pytest.mark.parametrize("tempered", [False, True], ids=["temperature-1", "own-temperature"])
def test_another_token_is_recovered_from_the_samplers_probability(
    height: int, width: int, rank: int, tempered: bool, device: torch.device
) -> None:
    logits_BV = make_logits(height, width)
    tokens_B = tokens_of_rank(logits_BV, rank)
    temperature_B = 0.5 + make_temperatures(height) if tempered else None
    buffer_BV = sampler_buffer(logits_BV, temperature_B).to(device)
    given_B = None if temperature_B is None else temperature_B.to(device)
    statistics = row_statistics(logits_BV.to(device), given_B)
    values_B5 = fold_sampled(statistics, tokens_B.to(device), buffer_BV, given_B)
    for row, logits in enumerate(logits_BV.double().tolist()):
        expected = reference_logprob(logits, int(tokens_B[row]))
        # Two float32 softmaxes lie between the probability and the logit.
        assert values_B5[row, LOGPROB].item() == pytest.approx(expected, abs=1e-4)
    assert values_B5[:, KNOWN].tolist() == [1.0] * height


@pytest.mark.parametrize("shift", [0.0, 30000.0])
def test_a_sure_tokens_logprob_keeps_its_digits(shift: float, device: torch.device) -> None:
    """The difference of a large logit and the logsumexp would lose them."""
    logits_BV = torch.full((1, 1000), shift)
    logits_BV[0, 5] += 12.0
    tokens_B = torch.tensor([5], device=device)
    values_B5 = fold_sampled(row_statistics(logits_BV.to(device)), tokens_B, None, None)
    expected = -math.log1p(999.0 * math.exp(-12.0))
    assert values_B5[0, LOGPROB].item() == pytest.approx(expected, rel=0.01)


def test_the_best_token_wins_over_the_samplers_probability(device: torch.device) -> None:
    logits_BV = make_logits(2, 100).to(device)
    statistics = row_statistics(logits_BV)
    tokens_B = row_summary(statistics).best_ids_B
    misleading_BV = torch.full((2, 100), 0.123, device=device)
    values_B5 = fold_sampled(statistics, tokens_B, misleading_BV, None)
    assert torch.equal(values_B5[:, LOGPROB], row_summary(statistics).top1_logprob_B)


def test_without_a_probability_the_second_best_logit_bounds_the_logprob(
    device: torch.device,
) -> None:
    logits_BV = make_logits(2, 100).to(device)
    statistics = row_statistics(logits_BV)
    tokens_B = tokens_of_rank(logits_BV, 40)
    values_B5 = fold_sampled(statistics, tokens_B, None, None)
    logprobs_BV = logits_BV.log_softmax(dim=-1)
    exact_B = logprobs_BV.gather(1, tokens_B.unsqueeze(-1)).squeeze(-1)
    bound_B = logprobs_BV.topk(2, dim=-1).values[:, 1]
    torch.testing.assert_close(values_B5[:, LOGPROB], bound_B)
    assert bool((bound_B > exact_B).all())
    assert values_B5[:, KNOWN].tolist() == [0.0] * 2


@pytest.mark.parametrize("probability", [0.0, math.nan], ids=["zero", "nan"])
def test_a_useless_probability_leaves_the_bound(probability: float, device: torch.device) -> None:
    logits_BV = make_logits(3, 100).to(device)
    statistics = row_statistics(logits_BV)
    tokens_B = tokens_of_rank(logits_BV, 40)
    useless_BV = torch.full((3, 100), probability, device=device)
    values_B5 = fold_sampled(statistics, tokens_B, useless_BV, None)
    assert torch.equal(values_B5, fold_sampled(statistics, tokens_B, None, None))


def test_known_says_row_by_row_whether_the_logprob_is_exact(device: torch.device) -> None:
    logits_BV = make_logits(4, 100).to(device)
    statistics = row_statistics(logits_BV)
    outside_B = tokens_of_rank(logits_BV, 40)
    tokens_B = torch.cat((row_summary(statistics).best_ids_B[:1], outside_B[1:]))
    buffer_BV = sampler_buffer(logits_BV, None)
    buffer_BV[2:] = 0.0
    values_B5 = fold_sampled(statistics, tokens_B, buffer_BV, None, keep(logits_BV, [3]))
    assert values_B5[:, KNOWN].tolist() == [1.0, 1.0, 0.0, 1.0]


# Kept rows


@pytest.mark.parametrize("rank", [0, 1, 40])
@pytest.mark.parametrize("kept_rows", [[1], [2, 0], [0, 1, 2, 3]], ids=str)
@pytest.mark.parametrize("sampled", [False, True], ids=["greedy", "sampled"])
def test_a_kept_row_has_its_exact_logprob_whatever_the_buffer_holds(
    rank: int, kept_rows: list[int], sampled: bool, device: torch.device
) -> None:
    logits_BV = make_logits(4, 100)
    tokens_B = tokens_of_rank(logits_BV, rank)
    temperature_B = 0.5 + make_temperatures(4).to(device) if sampled else None
    buffer_BV = torch.full((4, 100), 0.9, device=device) if sampled else None
    statistics = row_statistics(logits_BV.to(device), temperature_B)
    original = keep(logits_BV.to(device), kept_rows)
    values_B5 = fold_sampled(statistics, tokens_B.to(device), buffer_BV, temperature_B, original)
    plain_B5 = fold_sampled(statistics, tokens_B.to(device), buffer_BV, temperature_B)
    for row, logits in enumerate(logits_BV.double().tolist()):
        if row not in kept_rows:
            assert torch.equal(values_B5[row], plain_B5[row])
            continue
        expected = reference_logprob(logits, int(tokens_B[row]))
        assert_near(
            values_B5[row, LOGPROB].item(), expected, TOLERANCES[torch.float32], f"row {row}"
        )
        assert values_B5[row, KNOWN].item() == 1.0


@pytest.mark.parametrize("token", [-1, 100])
def test_a_token_outside_the_vocabulary_is_not_known(token: int, device: torch.device) -> None:
    logits_BV = make_logits(2, 100).to(device)
    tokens_B = torch.tensor([token, token], device=device)
    original = keep(logits_BV, [1])
    buffer_BV = sampler_buffer(logits_BV, None)
    values_B5 = fold_sampled(row_statistics(logits_BV), tokens_B, buffer_BV, None, original)
    assert values_B5[:, KNOWN].tolist() == [0.0, 0.0]


def test_the_other_step_values_are_the_rows_statistics(device: torch.device) -> None:
    logits_BV = make_logits(2, 100).to(device)
    statistics = row_statistics(logits_BV)
    values_B5 = fold_sampled(statistics, row_summary(statistics).best_ids_B, None, None)
    for name in ("entropy", "margin", "self_certainty"):
        column = STEP_VALUES.index(name)
        assert torch.equal(values_B5[:, column], getattr(row_summary(statistics), f"{name}_B")), (
            name
        )


def test_int32_token_ids_give_the_same_values(device: torch.device) -> None:
    logits_BV = make_logits(2, 100).to(device)
    statistics = row_statistics(logits_BV)
    tokens_B = tokens_of_rank(logits_BV, 1)
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
    buffer_BV = sampler_buffer(logits_BV, temperature_B)
    together = fold_sampled(statistics, tokens_B, buffer_BV, temperature_B)
    for row in range(4):
        alone_row = slice(row, row + 1)
        alone = fold_sampled(
            row_statistics(logits_BV[alone_row], temperature_B[alone_row]),
            tokens_B[alone_row],
            buffer_BV[alone_row],
            temperature_B[alone_row],
        )
        assert torch.equal(together[alone_row], alone), row


def test_the_values_are_fresh_memory(device: torch.device) -> None:
    logits_BV = make_logits(3, 100).to(device)
    statistics = row_statistics(logits_BV)
    before = row_summary(statistics)
    fold_sampled(statistics, row_summary(statistics).best_ids_B, None, None).fill_(7.0)
    assert all(torch.equal(a, b) for a, b in zip(row_summary(statistics), before, strict=True))


@pytest.mark.parametrize(
    ("tokens", "probability", "original_shapes", "shown"),
    [
        ((3,), None, None, [3]),
        ((2,), (2,), None, [2]),
        ((2,), (2, 19), None, [2, 19]),
        ((2,), None, ((1, 20), (3,)), [3]),
        ((2,), None, ((1, 19), (2,)), [1, 19]),
    ],
    ids=["tokens", "one-probability", "columns", "places", "kept-columns"],
)
def test_a_shape_that_does_not_match_is_refused(
    tokens: tuple[int],
    probability: tuple[int, ...] | None,
    original_shapes: tuple[tuple[int, ...], tuple[int, ...]] | None,
    shown: list[int],
    device: torch.device,
) -> None:
    statistics = row_statistics(make_logits(2, 20).to(device))
    given = None if probability is None else torch.ones(probability, device=device)
    rows = None
    if original_shapes is not None:
        logits_CV, places_B = (torch.zeros(shape, device=device) for shape in original_shapes)
        rows = KeptLogits(logits_CV, places_B.to(torch.int32))
    token_ids_B = torch.zeros(tokens, dtype=torch.int64, device=device)
    with pytest.raises(ValueError, match="fold_sampled takes") as raised:
        fold_sampled(statistics, token_ids_B, given, None, rows)
    assert str(raised.value).endswith(f"got {shown}")
