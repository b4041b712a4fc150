"""row_statistics: equal to the float64 reference, and a property of each row alone."""

import math
from collections.abc import Callable

import pytest
import torch
import triton

from cascadia_kernels.reference import reference_row
from cascadia_kernels.row_statistics import SPLITS, Split, row_statistics
from cascadia_kernels.row_summary import RowSummary, row_summary
from cascadia_kernels.testing import TOLERANCES, assert_near, make_logits, make_temperatures

INTERPRETED = bool(triton.knobs.runtime.interpret)

dtypes = pytest.mark.parametrize("dtype", list(TOLERANCES), ids=lambda d: str(d).split(".")[-1])


def summarise(logits_BV: torch.Tensor, temperature_B: torch.Tensor | None = None) -> RowSummary:
    return row_summary(row_statistics(logits_BV, temperature_B), temperature_B)


# Splits that the interpreter is asked for: the shortest range with the most warps has the fewest
# columns a thread.
splits = pytest.mark.parametrize(
    "split",
    [SPLITS["4096x8"]] if INTERPRETED else list(SPLITS.values()),
    ids="{0[0]}x{0[1]}".format,
)


def same_bits(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Whether two tensors are equal, NaN being equal to itself."""
    return torch.equal(first.nan_to_num(nan=1e30), second.nan_to_num(nan=1e30))


def assert_rows_equal_reference(
    statistics: RowSummary, logits_BV: torch.Tensor, temperature_B: torch.Tensor
) -> None:
    tolerance = TOLERANCES[logits_BV.dtype]
    for row, logits in enumerate(logits_BV.double().tolist()):
        for name, expected in reference_row(logits, temperature_B[row].item()).items():
            actual = getattr(statistics, f"{name}_B")[row].item()
            assert_near(actual, expected, tolerance, f"{name} of row {row}")
        assert statistics.best_ids_B[row].item() == logits.index(max(logits)), row


def test_every_statistic_equals_the_float64_reference(
    rows: int, columns: int, dtype: torch.dtype, device: torch.device
) -> None:
    logits_BV = make_logits(rows, columns, dtype)
    temperature_B = make_temperatures(rows)
    statistics = summarise(logits_BV.to(device), temperature_B.to(device))
    for values in statistics:
        assert len(values) == rows
    assert_rows_equal_reference(statistics, logits_BV, temperature_B)


def test_statistics_are_float32_and_ids_int64(device: torch.device) -> None:
    statistics = summarise(make_logits(2, 20, torch.bfloat16).to(device))
    assert {name: values.dtype for name, values in statistics._asdict().items()} == {
        name: torch.int64 if name == "best_ids_B" else torch.float32 for name in RowSummary._fields
    }


def test_no_temperature_means_one(device: torch.device) -> None:
    logits_BV = make_logits(2, 100).to(device)
    statistics = summarise(logits_BV)
    assert torch.equal(statistics.tempered_logsumexp_B, statistics.logsumexp_B)


@pytest.mark.parametrize(
    "masked", [50, 98] if INTERPRETED else [1, 50, 98, 99], ids=lambda n: f"{n}-of-100"
)
def test_columns_at_minus_infinity_have_no_part(masked: int, device: torch.device) -> None:
    logits_BV = make_logits(2, 100, seed=masked)
    generator = torch.Generator().manual_seed(masked)
    for row in logits_BV:
        row[torch.randperm(100, generator=generator)[:masked]] = -math.inf
    temperature_B = make_temperatures(2)
    statistics = summarise(logits_BV.to(device), temperature_B.to(device))
    assert_rows_equal_reference(statistics, logits_BV, temperature_B)


@pytest.mark.parametrize("spread", [1e-3, 100.0, 1e4], ids=["flat", "peaked", "one-hot"])
def test_extreme_rows_equal_the_reference(spread: float, device: torch.device) -> None:
    logits_BV = make_logits(1, 128, spread=spread)
    temperature_B = make_temperatures(1)
    statistics = summarise(logits_BV.to(device), temperature_B.to(device))
    assert_rows_equal_reference(statistics, logits_BV, temperature_B)


def test_uniform_row_has_the_most_entropy_and_no_certainty(device: torch.device) -> None:
    statistics = summarise(torch.full((1, 1000), -3.0, device=device))
    assert statistics.entropy_B.item() == pytest.approx(math.log(1000), abs=1e-5)
    assert statistics.self_certainty_B.item() == pytest.approx(0.0, abs=1e-5)
    assert statistics.margin_B.item() == 0.0


@pytest.mark.parametrize("shift", [-100.0, 0.25, 1000.0])
def test_adding_a_constant_to_a_row_shifts_only_its_logsumexp(
    shift: float, device: torch.device
) -> None:
    # Multiples of 1/1024 stay exact under these shifts, so nothing but the shift differs.
    logits_BV = (make_logits(2, 200) * 1024).round() / 1024
    before = summarise(logits_BV.to(device))
    after = summarise((logits_BV + shift).to(device))
    for name in ("entropy_B", "top1_logprob_B", "margin_B", "self_certainty_B"):
        torch.testing.assert_close(getattr(after, name), getattr(before, name))
    torch.testing.assert_close(after.logsumexp_B, before.logsumexp_B + shift)
    assert torch.equal(after.best_ids_B, before.best_ids_B)


@pytest.mark.parametrize(
    "width", [17, 20011] if INTERPRETED else [1, 2, 5, 15, 16, 17, 128, 1000, 32768, 50021]
)
@pytest.mark.usefixtures("threads")
def test_a_row_is_bit_identical_alone_and_in_any_batch(width: int, device: torch.device) -> None:
    few = width > 1000 or INTERPRETED
    for seed in range(1 if few else 5):
        logits_BV = make_logits(3 if few else 9, width, seed=seed).to(device)
        temperature_B = make_temperatures(len(logits_BV), seed).to(device)
        together = summarise(logits_BV, temperature_B)
        partials = row_statistics(logits_BV, temperature_B).partials_BSP
        for first in range(len(logits_BV)):
            rest = slice(first, first + 1 if first else None)
            some = summarise(logits_BV[rest], temperature_B[rest])
            for name, values in together._asdict().items():
                assert torch.equal(values[rest], getattr(some, name)), (name, first)
            alone = row_statistics(logits_BV[rest], temperature_B[rest]).partials_BSP
            assert same_bits(partials[rest], alone), first


def test_a_row_does_not_depend_on_the_number_of_threads() -> None:
    logits_BV = make_logits(1, 50021)
    before = torch.get_num_threads()
    by_threads = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        by_threads.append(summarise(logits_BV, torch.tensor([0.7])))
    torch.set_num_threads(before)
    for other in by_threads[1:]:
        assert all(torch.equal(a, b) for a, b in zip(by_threads[0], other, strict=True))


@pytest.mark.parametrize("bad", [math.nan, math.inf], ids=["nan", "plus-infinity"])
def test_a_broken_row_is_nan_and_leaves_the_others_as_they_are(
    bad: float, device: torch.device
) -> None:
    logits_BV = make_logits(3, 130)
    temperature_B = make_temperatures(3).to(device)
    whole = summarise(logits_BV.to(device), temperature_B)
    logits_BV[1, 77] = bad
    broken = summarise(logits_BV.to(device), temperature_B)
    for name, values in broken._asdict().items():
        others = [0, 2]
        assert torch.equal(values[others], getattr(whole, name)[others]), name
        if name not in ("margin_B", "best_ids_B"):
            assert values[1].isnan(), name


def test_a_row_without_a_finite_logit_is_nan(device: torch.device) -> None:
    statistics = summarise(torch.full((1, 20), -math.inf, device=device))
    assert statistics.entropy_B.isnan()
    assert statistics.self_certainty_B.isnan()


@pytest.mark.parametrize("layout", ["transposed", "every-other-column", "slice"])
def test_the_layout_of_the_input_changes_no_bit(layout: str, device: torch.device) -> None:
    logits_BV = make_logits(2, 300).to(device)
    strided_BV = {
        "transposed": lambda: logits_BV.t().contiguous().t(),
        "every-other-column": lambda: logits_BV.repeat_interleave(2, dim=1)[:, ::2],
        "slice": lambda: torch.nn.functional.pad(logits_BV, (3, 5))[:, 3:-5],
    }[layout]()
    assert not strided_BV.is_contiguous()
    temperature_B = make_temperatures(2).to(device)
    expected = summarise(logits_BV, temperature_B)
    actual = summarise(strided_BV, temperature_B)
    assert all(same_bits(a, b) for a, b in zip(actual, expected, strict=True))


@dtypes
def test_the_input_is_neither_modified_nor_aliased(
    dtype: torch.dtype, device: torch.device
) -> None:
    logits_BV = make_logits(2, 64, dtype).to(device)
    temperature_B = make_temperatures(2).to(device)
    copies = logits_BV.clone(), temperature_B.clone()
    statistics = summarise(logits_BV, temperature_B)
    assert torch.equal(logits_BV, copies[0])
    assert torch.equal(temperature_B, copies[1])
    before = [values.clone() for values in statistics]
    logits_BV.zero_()  # as the sampler overwrites its buffer
    assert all(torch.equal(a, b) for a, b in zip(statistics, before, strict=True))


@pytest.mark.parametrize(
    ("logits_shape", "temperature_shape"),
    [((4,), None), ((2, 3, 4), None), ((2, 0), None), ((2, 4), (3,)), ((2, 4), (2, 1))],
    ids=["one-dimension", "three-dimensions", "no-column", "other-rows", "two-dimensions"],
)
def test_a_shape_that_does_not_match_is_refused_with_its_numbers(
    logits_shape: tuple[int, ...], temperature_shape: tuple[int, ...] | None
) -> None:
    temperature = None if temperature_shape is None else torch.ones(temperature_shape)
    shown = logits_shape if temperature_shape is None else temperature_shape
    with pytest.raises(ValueError, match="row_statistics takes") as raised:
        row_statistics(torch.zeros(logits_shape), temperature)
    assert str(list(shown)) in str(raised.value)


@pytest.mark.parametrize("token", [5000, 20010] if INTERPRETED else [0, 5000, 16384, 20010])
@pytest.mark.parametrize("bad", [-math.inf, math.nan, math.inf], ids=["-inf", "nan", "+inf"])
def test_one_infinite_logit_is_seen_wherever_it_stands(
    token: int, bad: float, device: torch.device
) -> None:
    """Whole tiles are read as if every logit were finite, the rest of a row with care."""
    logits_BV = make_logits(1, 20011)
    logits_BV[0, token] = bad
    temperature_B = make_temperatures(1)
    statistics = summarise(logits_BV.to(device), temperature_B.to(device))
    if bad == -math.inf:
        assert_rows_equal_reference(statistics, logits_BV, temperature_B)
    else:
        for name in ("logsumexp", "tempered_logsumexp", "entropy", "top1_logprob"):
            assert getattr(statistics, f"{name}_B").isnan().all(), name
        assert statistics.self_certainty_B.isnan().all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="a serving batch is the device's")
def test_a_row_of_a_serving_batch_is_bit_identical_alone() -> None:
    generator = torch.Generator("cuda").manual_seed(0)
    logits_BV = 4.0 * torch.randn(256, 151936, device="cuda", generator=generator)
    temperature_B = make_temperatures(256).to("cuda")
    together = summarise(logits_BV, temperature_B)
    for row in (0, 1, 100, 255):
        row_slice = slice(row, row + 1)
        alone = summarise(logits_BV[row_slice], temperature_B[row_slice])
        for name, values in together._asdict().items():
            assert torch.equal(values[row_slice], getattr(alone, name)), (name, row)


# The two best

RANGES = sorted({split.range_columns for split in SPLITS.values()})

# Rows in which the best or the second best is hard to find: equal logits in one lane, in several
# lanes, tiles and ranges; the two best in one lane; few columns; infinities.
HARD_ROWS: dict[str, Callable[[int], torch.Tensor]] = {
    "constant": lambda v: torch.full((v,), 2.5),
    "rising": lambda v: torch.arange(v, dtype=torch.float32),
    "falling": lambda v: -torch.arange(v, dtype=torch.float32),
    "two-values": lambda v: (torch.arange(v) % 3 == 0).float(),
    "one-lane": lambda v: (
        torch.where(torch.arange(v) % 512 == 7, 50.0, 0.0) + torch.arange(v) % 97 / 97.0
    ),
    "equal-in-one-lane": lambda v: torch.where(torch.arange(v) % 1024 == 30, 5.0, 0.0),
    "equal-in-the-last-tile": lambda v: torch.where(torch.arange(v) >= v - 2, 5.0, 0.0),
    "bfloat16-steps": lambda v: (
        torch.randn(v, generator=torch.Generator().manual_seed(1)).bfloat16().float()
    ),
    "zeros-of-both-signs": lambda v: torch.where(torch.arange(v) % 2 == 0, 0.0, -0.0),
    "two-finite": lambda v: torch.full((v,), -math.inf).index_fill(0, torch.tensor([3, v - 1]), 1),
    "one-finite": lambda v: torch.full((v,), -math.inf).index_fill(0, torch.tensor([v - 2]), 1.0),
    "lowest": lambda v: torch.full((v,), torch.finfo(torch.float32).min),
    "plus-infinity": lambda v: torch.zeros(v).index_fill(0, torch.tensor([v - 1]), math.inf),
}


@splits
@pytest.mark.parametrize("width", [33, 9001] if INTERPRETED else [33, 9001, 151936])
@pytest.mark.parametrize("kind", HARD_ROWS)
def test_the_two_best_are_found_in_any_row(
    kind: str, width: int, split: Split, device: torch.device
) -> None:
    logits_BV = HARD_ROWS[kind](width).unsqueeze(0)
    summary = row_summary(row_statistics(logits_BV.to(device), None, split))
    first, second = logits_BV[0].sort(descending=True).values[:2]
    assert summary.best_ids_B.item() == logits_BV[0].tolist().index(first.item())
    assert summary.margin_B.item() == (first - second).item()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_the_two_best_are_found_in_wider_lanes(dtype: torch.dtype, device: torch.device) -> None:
    logits_BV = make_logits(2, 9001, dtype)
    logits_BV[1, [8000, 5000]] = logits_BV[1].max() + 1.0
    summary = summarise(logits_BV.to(device))
    expected = [row.index(max(row)) for row in logits_BV.tolist()]
    assert summary.best_ids_B.tolist() == expected
    assert expected[1] == 5000
    assert summary.margin_B[1].item() == 0.0


def test_a_row_of_nan_ends_and_has_a_column_for_its_best(device: torch.device) -> None:
    summary = summarise(torch.full((1, 5000), math.nan, device=device))
    assert 0 <= summary.best_ids_B.item() < 5000
    assert summary.entropy_B.isnan().all()


def test_of_equal_logits_the_lowest_id_is_the_best(device: torch.device) -> None:
    logits_BV = torch.zeros(3, 200)
    logits_BV[0, [150, 30, 7]] = 2.0
    logits_BV[1, [199, 100]] = 2.0
    logits_BV[2, [64, 65, 66, 2]] = 2.0
    summary = summarise(logits_BV.to(device))
    assert summary.best_ids_B.tolist() == [7, 100, 2]
    assert summary.margin_B.tolist() == [0.0] * 3


# Splits


@splits
@pytest.mark.parametrize("tempered", [False, True], ids=["greedy", "tempered"])
def test_every_split_gives_the_reference(
    split: Split, tempered: bool, device: torch.device
) -> None:
    logits_BV = make_logits(1, 9001)
    temperature_B = make_temperatures(1) if tempered else None
    given_B = None if temperature_B is None else temperature_B.to(device)
    statistics = row_statistics(logits_BV.to(device), given_B, split)
    assert_rows_equal_reference(
        row_summary(statistics, given_B),
        logits_BV,
        torch.ones(1) if temperature_B is None else temperature_B,
    )


def test_the_splits_are_those_that_a_tuning_run_compares() -> None:
    assert RANGES == [4096, 8192, 16384]
    assert {split.warps for split in SPLITS.values()} == {4, 8}
    assert all(name == f"{split[0]}x{split[1]}" for name, split in SPLITS.items())


def test_a_vocabulary_beyond_the_exact_floats_is_refused() -> None:
    with pytest.raises(ValueError, match="V from 1 to 16777216"):
        row_statistics(torch.empty(1, 1).expand(1, (1 << 24) + 1))
