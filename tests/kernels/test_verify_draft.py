"""verify_draft: how far drafts agree with the logits at their places."""

import itertools
import math

import pytest
import torch

from cascadia_kernels.fold_sampled import fold_sampled
from cascadia_kernels.layout import STEP_VALUES, KeptLogits
from cascadia_kernels.reference import reference_draft, reference_logprob, reference_row
from cascadia_kernels.row_statistics import row_statistics
from cascadia_kernels.testing import TOLERANCES, assert_near, make_logits
from cascadia_kernels.verify_draft import PLACES_AT_ONCE, verify_draft

LOGPROB, KNOWN = STEP_VALUES.index("logprob"), STEP_VALUES.index("known")


def drafted(
    logits_NV: torch.Tensor, sizes: list[int], parted: list[int | None]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Drafts of the likeliest tokens, but for one place of each; their tokens and starts."""
    tokens_N = logits_NV.float().argmax(dim=-1)
    starts = [0, *itertools.accumulate(sizes)]
    for start, position in zip(starts, parted, strict=False):
        if position is not None:
            tokens_N[start + position] = (tokens_N[start + position] + 1) % logits_NV.shape[1]
    return tokens_N, torch.tensor(starts)


def test_every_token_has_its_exact_values(
    rows: int, columns: int, dtype: torch.dtype, device: torch.device
) -> None:
    logits_NV = make_logits(rows, columns, dtype)
    generator = torch.Generator().manual_seed(rows)
    tokens_N = torch.randint(columns, (rows,), generator=generator)
    verified = verify_draft(
        logits_NV.to(device), tokens_N.to(device), torch.tensor([0, rows], device=device)
    )
    assert verified.values_ND.shape == (rows, len(STEP_VALUES))
    for row, logits in enumerate(logits_NV.double().tolist()):
        token = int(tokens_N[row])
        expected = {"logprob": reference_logprob(logits, token), "known": 1.0}
        expected |= reference_row(logits, 1.0)
        for column, name in enumerate(STEP_VALUES):
            actual = verified.values_ND[row, column].item()
            assert_near(actual, expected[name], TOLERANCES[dtype], f"row {row} {name}")
    rows_of_draft = logits_NV.float().tolist()
    agreed, preferred = reference_draft(rows_of_draft, tokens_N.tolist())
    assert (verified.agreed_G.tolist(), verified.preferred_G.tolist()) == ([agreed], [preferred])
    assert verified.preferred_N.tolist() == [row.index(max(row)) for row in rows_of_draft]


@pytest.mark.parametrize(
    ("sizes", "parted"),
    [
        ([5], [None]),
        ([5], [0]),
        ([5], [4]),
        ([1, 1, 1], [0, None, 0]),
        ([3, 0, 4, 0], [None, None, 2, None]),
        ([2 * PLACES_AT_ONCE + 3, 2], [2 * PLACES_AT_ONCE + 1, None]),
        ([PLACES_AT_ONCE, PLACES_AT_ONCE + 1, 1], [None, PLACES_AT_ONCE, None]),
        ([], []),
    ],
    ids=["whole", "first", "last", "ones", "empty", "long", "blocks", "none"],
)
def test_a_draft_agrees_up_to_its_first_difference(
    sizes: list[int], parted: list[int | None], device: torch.device
) -> None:
    logits_NV = make_logits(sum(sizes), 33)
    tokens_N, starts_H = drafted(logits_NV, sizes, parted)
    verified = verify_draft(logits_NV.to(device), tokens_N.to(device), starts_H.to(device))
    bounds = list(itertools.pairwise(starts_H.tolist()))
    expected = [reference_draft(logits_NV[a:b].tolist(), tokens_N[a:b].tolist()) for a, b in bounds]
    assert [
        size if position is None else position for size, position in zip(sizes, parted, strict=True)
    ] == [agreed for agreed, _ in expected]
    assert (
        list(zip(verified.agreed_G.tolist(), verified.preferred_G.tolist(), strict=True))
        == expected
    )


def test_of_equal_logits_the_lower_id_is_preferred(device: torch.device) -> None:
    """As SGLang's greedy sampler, `torch.argmax`, prefers it."""
    logits_NV = torch.zeros(2, 40, device=device)
    logits_NV[:, [7, 21]] = 3.0
    verified = verify_draft(
        logits_NV, torch.tensor([7, 21], device=device), torch.tensor([0, 1, 2], device=device)
    )
    assert verified.agreed_G.tolist() == [1, 0]
    assert verified.preferred_G.tolist() == [-1, 7]


def test_the_values_are_those_of_steps_that_wrote_the_tokens(device: torch.device) -> None:
    logits_NV = make_logits(6, 100).to(device)
    statistics = row_statistics(logits_NV)
    tokens_N = logits_NV.topk(4, dim=-1).indices[:, 3]
    verified = verify_draft(logits_NV, tokens_N, torch.tensor([0, 6], device=device))
    original = KeptLogits(logits_NV, torch.arange(6, dtype=torch.int32, device=device))
    assert torch.equal(verified.values_ND, fold_sampled(statistics, tokens_N, None, None, original))


def test_a_token_far_from_the_best_is_known_exactly(device: torch.device) -> None:
    logits_NV = make_logits(2, 100)
    tokens_N = logits_NV.argmin(dim=-1)
    verified = verify_draft(
        logits_NV.to(device), tokens_N.to(device), torch.tensor([0, 2], device=device)
    )
    for row, logits in enumerate(logits_NV.double().tolist()):
        expected = reference_logprob(logits, int(tokens_N[row]))
        assert_near(
            verified.values_ND[row, LOGPROB].item(), expected, TOLERANCES[torch.float32], "logprob"
        )
    assert verified.values_ND[:, KNOWN].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("token", [-1, 40, 2**31 - 1])
def test_a_token_outside_the_vocabulary_is_not_known(token: int, device: torch.device) -> None:
    logits_NV = make_logits(2, 40)
    tokens_N, starts_H = drafted(logits_NV, [2], [None])
    tokens_N[1] = token
    verified = verify_draft(logits_NV.to(device), tokens_N.to(device), starts_H.to(device))
    assert verified.values_ND[1, LOGPROB].isnan()
    assert verified.values_ND[:, KNOWN].tolist() == [1.0, 0.0]
    assert verified.agreed_G.tolist() == [1]


@pytest.mark.parametrize("name", ["int32 ids", "strided ids", "strided logits", "int32 starts"])
def test_any_strides_and_integers_give_the_same(name: str, device: torch.device) -> None:
    logits_NV = make_logits(7, 50).to(device)
    tokens_N, starts_H = (tensor.to(device) for tensor in drafted(logits_NV, [3, 4], [1, None]))
    expected = verify_draft(logits_NV, tokens_N, starts_H)
    if name == "int32 ids":
        tokens_N = tokens_N.to(torch.int32)
    elif name == "strided ids":
        tokens_N = torch.stack((tokens_N, tokens_N + 1), dim=-1)[:, 0]
    elif name == "strided logits":
        logits_NV = logits_NV.t().contiguous().t()
    else:
        starts_H = starts_H.to(torch.int32)
    for from_contiguous, from_strided in zip(
        expected, verify_draft(logits_NV, tokens_N, starts_H), strict=True
    ):
        assert torch.equal(from_contiguous, from_strided)


@pytest.mark.usefixtures("threads")
def test_a_row_is_bit_identical_alone_and_in_any_batch(device: torch.device) -> None:
    logits_NV = make_logits(5, 200).to(device)
    tokens_N, starts_H = (tensor.to(device) for tensor in drafted(logits_NV, [2, 3], [1, None]))
    together = verify_draft(logits_NV, tokens_N, starts_H)
    one_row = torch.tensor([0, 1], device=device)
    for row in range(5):
        row_slice = slice(row, row + 1)
        alone = verify_draft(logits_NV[row_slice], tokens_N[row_slice], one_row)
        assert torch.equal(together.values_ND[row_slice], alone.values_ND), row
        assert torch.equal(together.preferred_N[row_slice], alone.preferred_N), row


def test_a_nan_row_spoils_no_other(device: torch.device) -> None:
    logits_NV = make_logits(3, 50)
    tokens_N, starts_H = drafted(logits_NV, [3], [None])
    whole = verify_draft(logits_NV.to(device), tokens_N.to(device), starts_H.to(device))
    logits_NV[1, 3] = math.nan
    broken = verify_draft(logits_NV.to(device), tokens_N.to(device), starts_H.to(device))
    assert torch.equal(broken.values_ND[[0, 2]], whole.values_ND[[0, 2]])
    assert broken.values_ND[1, LOGPROB].isnan()


def test_the_logits_are_not_modified(device: torch.device) -> None:
    logits_NV = make_logits(3, 50).to(device)
    before = logits_NV.clone()
    tokens_N, starts_H = (tensor.to(device) for tensor in drafted(logits_NV, [3], [1]))
    verify_draft(logits_NV, tokens_N, starts_H)
    assert torch.equal(logits_NV, before)


@pytest.mark.parametrize(
    ("tokens", "starts", "shown"),
    [((3,), (2,), "[3]"), ((2, 1), (2,), "[2, 1]"), ((2,), (0,), "[0]"), ((2,), (1, 2), "[1, 2]")],
)
def test_a_shape_that_does_not_match_is_refused(
    tokens: tuple[int, ...], starts: tuple[int, ...], shown: str, device: torch.device
) -> None:
    logits_NV = make_logits(2, 20).to(device)
    with pytest.raises(ValueError, match="verify_draft takes") as raised:
        verify_draft(
            logits_NV,
            torch.zeros(tokens, dtype=torch.int64, device=device),
            torch.zeros(starts, dtype=torch.int64, device=device),
        )
    assert f"got {shown}" in str(raised.value)
