"""row_statistics: equal to the float64 reference, and a property of each row alone."""

import math

import pytest
import torch

from cascadia_kernels import BEST_PAIRS, RowStatistics, row_statistics
from cascadia_kernels.reference import reference_row
from cascadia_kernels.testing import TOLERANCES, assert_near, make_logits, make_temperatures

# Columns: one, two, one below / at / above the best pairs kept, the demo tiers' vocabulary, an
# ordinary number that is no power of two, and a long prime row, which PyTorch may split over its
# threads. Rows: none, one, few, and more than a vector register holds.
SHAPES = [(b, v) for v in (1, 2, 15, 16, 17, 128, 1000) for b in (0, 1, 2, 7, 33)]
SHAPES += [(1, 50021), (2, 50021)]

shapes = pytest.mark.parametrize(("rows", "columns"), SHAPES, ids=lambda n: str(n))
dtypes = pytest.mark.parametrize("dtype", list(TOLERANCES), ids=lambda d: str(d).split(".")[-1])


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are equal, NaN being equal to itself."""
    return torch.equal(one.nan_to_num(nan=1e30), other.nan_to_num(nan=1e30))


def assert_rows_equal_reference(
    statistics: RowStatistics, logits_BV: torch.Tensor, temperature_B: torch.Tensor
) -> None:
    tolerance = TOLERANCES[logits_BV.dtype]
    for row, logits in enumerate(logits_BV.double().tolist()):
        for name, expected in reference_row(logits, temperature_B[row].item()).items():
            actual = getattr(statistics, f"{name}_B")[row].item()
            assert_near(actual, expected, tolerance, f"{name} of row {row}")


@shapes
@dtypes
def test_every_statistic_equals_the_float64_reference(
    rows: int, columns: int, dtype: torch.dtype, device: torch.device
) -> None:
    logits_BV = make_logits(rows, columns, dtype)
    temperature_B = make_temperatures(rows)
    statistics = row_statistics(logits_BV.to(device), temperature_B.to(device))
    for values in statistics:
        assert len(values) == rows
    assert_rows_equal_reference(statistics, logits_BV, temperature_B)


@shapes
def test_best_pairs_are_the_largest_logits_in_order(
    rows: int, columns: int, device: torch.device
) -> None:
    logits_BV = make_logits(rows, columns).to(device)
    statistics = row_statistics(logits_BV)
    expected_BK = logits_BV.sort(dim=-1, descending=True).values[:, :BEST_PAIRS]
    assert torch.equal(statistics.best_logits_BK, expected_BK)
    assert torch.equal(logits_BV.gather(1, statistics.best_ids_BK), expected_BK)


def test_statistics_are_float32_and_ids_int64(device: torch.device) -> None:
    statistics = row_statistics(make_logits(2, 20, torch.bfloat16).to(device))
    assert {name: values.dtype for name, values in statistics._asdict().items()} == {
        name: torch.int64 if name == "best_ids_BK" else torch.float32
        for name in RowStatistics._fields
    }


def test_no_temperature_means_one(device: torch.device) -> None:
    logits_BV = make_logits(5, 100).to(device)
    statistics = row_statistics(logits_BV)
    assert torch.equal(statistics.tempered_logsumexp_B, statistics.logsumexp_B)


@pytest.mark.parametrize("masked", [1, 50, 98, 99], ids=lambda n: f"{n}-of-100")
def test_columns_at_minus_infinity_have_no_part(masked: int, device: torch.device) -> None:
    logits_BV = make_logits(4, 100, seed=masked)
    generator = torch.Generator().manual_seed(masked)
    for row in logits_BV:
        row[torch.randperm(100, generator=generator)[:masked]] = -math.inf
    temperature_B = make_temperatures(4)
    statistics = row_statistics(logits_BV.to(device), temperature_B.to(device))
    assert_rows_equal_reference(statistics, logits_BV, temperature_B)


@pytest.mark.parametrize("spread", [1e-3, 100.0, 1e4], ids=["flat", "peaked", "one-hot"])
def test_extreme_rows_equal_the_reference(spread: float, device: torch.device) -> None:
    logits_BV = make_logits(3, 128, spread=spread)
    temperature_B = make_temperatures(3)
    statistics = row_statistics(logits_BV.to(device), temperature_B.to(device))
    assert_rows_equal_reference(statistics, logits_BV, temperature_B)


def test_uniform_row_has_the_most_entropy_and_no_certainty(device: torch.device) -> None:
    statistics = row_statistics(torch.full((1, 1000), -3.0, device=device))
    assert statistics.entropy_B.item() == pytest.approx(math.log(1000), abs=1e-5)
    assert statistics.self_certainty_B.item() == pytest.approx(0.0, abs=1e-5)
    assert statistics.margin_B.item() == 0.0


@pytest.mark.parametrize("shift", [-100.0, 0.25, 1000.0])
def test_adding_a_constant_to_a_row_shifts_only_its_logsumexp(
    shift: float, device: torch.device
) -> None:
    # Multiples of 1/1024 stay exact under these shifts, so nothing but the shift differs.
    logits_BV = (make_logits(5, 200) * 1024).round() / 1024
    before = row_statistics(logits_BV.to(device))
    after = row_statistics((logits_BV + shift).to(device))
    for name in ("entropy_B", "top1_logprob_B", "margin_B", "self_certainty_B"):
        torch.testing.assert_close(getattr(after, name), getattr(before, name))
    torch.testing.assert_close(after.logsumexp_B, before.logsumexp_B + shift)
    assert torch.equal(after.best_ids_BK, before.best_ids_BK)


@pytest.mark.parametrize("columns", [1, 2, 5, 15, 16, 17, 128, 1000, 32768, 50021])
@pytest.mark.usefixtures("threads")
def test_a_row_is_bit_identical_alone_and_in_any_batch(columns: int, device: torch.device) -> None:
    for seed in range(1 if columns > 1000 else 5):
        logits_BV = make_logits(9, columns, seed=seed).to(device)
        temperature_B = make_temperatures(9, seed).to(device)
        for batch in (logits_BV, logits_BV[:2], logits_BV[3:]):
            together = row_statistics(batch, temperature_B[: len(batch)])
            for row in range(len(batch)):
                alone = row_statistics(batch[row : row + 1], temperature_B[row : row + 1])
                for name, values in together._asdict().items():
                    assert torch.equal(values[row : row + 1], getattr(alone, name)), (name, row)


def test_a_row_does_not_depend_on_the_number_of_threads() -> None:
    logits_BV = make_logits(1, 50021)
    before = torch.get_num_threads()
    found = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        found.append(row_statistics(logits_BV, torch.tensor([0.7])))
    torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("bad", [math.nan, math.inf], ids=["nan", "plus-infinity"])
def test_a_broken_row_is_nan_and_leaves_the_others_as_they_are(
    bad: float, device: torch.device
) -> None:
    logits_BV = make_logits(5, 130)
    temperature_B = make_temperatures(5).to(device)
    whole = row_statistics(logits_BV.to(device), temperature_B)
    logits_BV[2, 77] = bad
    broken = row_statistics(logits_BV.to(device), temperature_B)
    for name, values in broken._asdict().items():
        others = [0, 1, 3, 4]
        assert torch.equal(values[others], getattr(whole, name)[others]), name
        if name not in ("margin_B", "best_ids_BK", "best_logits_BK"):
            assert values[2].isnan(), name


def test_a_row_without_a_finite_logit_is_nan(device: torch.device) -> None:
    statistics = row_statistics(torch.full((1, 20), -math.inf, device=device))
    assert statistics.entropy_B.isnan()
    assert statistics.self_certainty_B.isnan()


@pytest.mark.parametrize("layout", ["transposed", "every-other-column", "slice"])
def test_the_layout_of_the_input_changes_no_bit(layout: str, device: torch.device) -> None:
    logits_BV = make_logits(7, 300).to(device)
    strided_BV = {
        "transposed": lambda: logits_BV.t().contiguous().t(),
        "every-other-column": lambda: logits_BV.repeat_interleave(2, dim=1)[:, ::2],
        "slice": lambda: torch.nn.functional.pad(logits_BV, (3, 5))[:, 3:-5],
    }[layout]()
    assert not strided_BV.is_contiguous()
    temperature_B = make_temperatures(7).to(device)
    expected = row_statistics(logits_BV, temperature_B)
    actual = row_statistics(strided_BV, temperature_B)
    assert all(same_bits(a, b) for a, b in zip(actual, expected, strict=True))


@dtypes
def test_the_input_is_neither_modified_nor_aliased(
    dtype: torch.dtype, device: torch.device
) -> None:
    logits_BV = make_logits(3, 64, dtype).to(device)
    temperature_B = make_temperatures(3).to(device)
    copies = logits_BV.clone(), temperature_B.clone()
    statistics = row_statistics(logits_BV, temperature_B)
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
