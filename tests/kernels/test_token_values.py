"""token_values: what chosen rows of logits say of given tokens."""

import math

import pytest
import torch

from cascadia_kernels.layout import STEP_VALUES
from cascadia_kernels.reference import reference_logprob, reference_row
from cascadia_kernels.row_statistics import row_statistics
from cascadia_kernels.testing import TOLERANCES, assert_near, make_logits
from cascadia_kernels.token_values import TokenValues, token_values

KNOWN = STEP_VALUES.index("known")


def values_of(
    logits_BV: torch.Tensor, tokens_B: torch.Tensor, rows_R: torch.Tensor | None
) -> TokenValues:
    return token_values(row_statistics(logits_BV, rows_R=rows_R), logits_BV, tokens_B, rows_R)


def test_chosen_rows_have_the_values_of_their_tokens(
    rows: int, columns: int, dtype: torch.dtype, device: torch.device
) -> None:
    """In any order, twice, or not at all."""
    logits_BV = make_logits(rows, columns, dtype)
    generator = torch.Generator().manual_seed(rows)
    tokens_B = torch.randint(columns, (rows,), generator=generator)
    rows_R = torch.randint(-1, rows, (2 * rows,), generator=generator)
    chosen = values_of(logits_BV.to(device), tokens_B.to(device), rows_R.to(device))
    assert chosen.values_RD.shape == (2 * rows, len(STEP_VALUES))
    listed = logits_BV.double().tolist()
    for index, row in enumerate(rows_R.tolist()):
        values, preferred = chosen.values_RD[index].tolist(), int(chosen.preferred_R[index])
        if row < 0:
            assert all(map(math.isnan, values[:KNOWN]))
            assert (values[KNOWN], preferred) == (0.0, -1)
            continue
        token = int(tokens_B[row])
        expected = {"logprob": reference_logprob(listed[row], token), "known": 1.0}
        expected |= reference_row(listed[row], 1.0)
        for actual, name in zip(values, STEP_VALUES, strict=True):
            assert_near(actual, expected[name], TOLERANCES[dtype], f"place {index} {name}")
        assert preferred == listed[row].index(max(listed[row]))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_a_chosen_row_is_bit_identical_to_the_same_row_among_all(
    dtype: torch.dtype, device: torch.device
) -> None:
    logits_BV = make_logits(6, 200).to(device)
    tokens_B = logits_BV.topk(3, dim=-1).indices[:, 2].to(dtype)
    every = values_of(logits_BV, tokens_B, None)
    rows_R = torch.tensor([4, 0, -1, 4], dtype=dtype, device=device)
    chosen = values_of(logits_BV, tokens_B, rows_R)
    for index, row in ((0, 4), (1, 0), (3, 4)):
        assert torch.equal(chosen.values_RD[index], every.values_RD[row])
        assert chosen.preferred_R[index] == every.preferred_R[row]


def test_strided_rows_ids_and_logits_give_the_same(device: torch.device) -> None:
    logits_BV = make_logits(5, 60).to(device)
    tokens_B = torch.arange(5, device=device)
    rows_R = torch.tensor([3, 1, -1], device=device)
    expected = values_of(logits_BV, tokens_B, rows_R)
    strided = values_of(
        logits_BV.t().contiguous().t(),
        torch.stack((tokens_B, tokens_B + 1), dim=-1)[:, 0],
        torch.stack((rows_R, rows_R + 1), dim=-1)[:, 0],
    )
    torch.testing.assert_close(strided.values_RD, expected.values_RD, equal_nan=True)
    assert torch.equal(strided.preferred_R, expected.preferred_R)


@pytest.mark.parametrize("token", [-1, 40])
def test_a_token_outside_the_vocabulary_is_not_known(token: int, device: torch.device) -> None:
    logits_BV = make_logits(2, 40).to(device)
    tokens_B = torch.tensor([3, token], device=device)
    chosen = values_of(logits_BV, tokens_B, torch.tensor([1], device=device))
    assert chosen.values_RD[0, 0].isnan()
    assert chosen.values_RD[0, KNOWN] == 0.0


def test_a_row_that_is_not_chosen_is_not_read(device: torch.device) -> None:
    logits_BV = make_logits(3, 50)
    tokens_B, rows_R = torch.arange(3), torch.tensor([2, 0])
    clean = values_of(logits_BV.to(device), tokens_B.to(device), rows_R.to(device))
    logits_BV[1] = math.nan
    chosen = values_of(logits_BV.to(device), tokens_B.to(device), rows_R.to(device))
    assert torch.equal(chosen.values_RD, clean.values_RD)


@pytest.mark.parametrize(
    ("tokens", "chosen"), [(3, None), (1, None), (3, [0])], ids=["more", "fewer", "with-rows"]
)
def test_a_shape_that_does_not_match_is_refused(
    tokens: int, chosen: list[int] | None, device: torch.device
) -> None:
    logits_BV = make_logits(2, 20).to(device)
    rows_R = None if chosen is None else torch.tensor(chosen, device=device)
    statistics = row_statistics(logits_BV, rows_R=rows_R)
    tokens_B = torch.zeros(tokens, dtype=torch.int64, device=device)
    with pytest.raises(ValueError, match=rf"token_values takes .* got \[{tokens}\] tokens"):
        token_values(statistics, logits_BV, tokens_B, rows_R)


def test_statistics_of_other_rows_are_refused(device: torch.device) -> None:
    logits_BV = make_logits(3, 20).to(device)
    tokens_B = torch.zeros(3, dtype=torch.int64, device=device)
    statistics = row_statistics(logits_BV)
    with pytest.raises(ValueError, match=r"statistics of 2 rows, got .* and 3 statistics"):
        token_values(statistics, logits_BV, tokens_B, torch.tensor([0, 1], device=device))


def test_chosen_rows_with_temperatures_are_refused(device: torch.device) -> None:
    logits_BV = make_logits(2, 20).to(device)
    with pytest.raises(ValueError, match="list of rows without temperatures"):
        row_statistics(logits_BV, torch.ones(2, device=device), rows_R=torch.tensor([0]))
