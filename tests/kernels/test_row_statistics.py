"""row_statistics: equal to the float64 reference, and a property of each row alone."""

import math

import pytest
import torch
import triton

from cascadia_kernels import BEST_PAIRS, RowSummary, row_statistics, row_summary
from cascadia_kernels.reference import reference_row
from cascadia_kernels.testing import TOLERANCES, assert_near, make_logits, make_temperatures

INTERPRETED = bool(triton.knobs.runtime.interpret)

dtypes = pytest.mark.parametrize("dtype", list(TOLERANCES), ids=lambda d: str(d).split(".")[-1])


def summarise(logits_BV: torch.Tensor, temperature_B: torch.Tensor | None = None) -> RowSummary:
    return row_summary(row_statistics(logits_BV, temperature_B), temperature_B)


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are equal, NaN being equal to itself."""
    return torch.equal(one.nan_to_num(nan=1e30), other.nan_to_num(nan=1e30))


def assert_rows_equal_reference(
    statistics: RowSummary, logits_BV: torch.Tensor, temperature_B: torch.Tensor
) -> None:
    tolerance = TOLERANCES[logits_BV.dtype]
    for row, logits in enumerate(logits_BV.double().tolist()):
        for name, expected in reference_row(logits, temperature_B[row].item()).items():
            actual = getattr(statistics, f"{name}_B")[row].item()
            assert_near(actual, expected, tolerance, f"{name} of row {row}")
    expected_BK = logits_BV.float().sort(dim=-1, descending=True).values[:, :BEST_PAIRS]
    assert torch.equal(statistics.best_logits_BK.cpu(), expected_BK)
    assert torch.equal(logits_BV.float().gather(1, statistics.best_ids_BK.cpu()), expected_BK)


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
        name: torch.int64 if name == "best_ids_BK" else torch.float32 for name in RowSummary._fields
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
    assert torch.equal(after.best_ids_BK, before.best_ids_BK)


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
            assert same_bits(partials[rest, :, :7], alone[:, :, :7]), first


def test_a_row_does_not_depend_on_the_number_of_threads() -> None:
    logits_BV = make_logits(1, 50021)
    before = torch.get_num_threads()
    found = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        found.append(summarise(logits_BV, torch.tensor([0.7])))
    torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


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
        if name not in ("margin_B", "best_ids_BK", "best_logits_BK"):
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


@pytest.mark.parametrize("place", [5000, 20010] if INTERPRETED else [0, 5000, 16384, 20010])
@pytest.mark.parametrize("bad", [-math.inf, math.nan, math.inf], ids=["-inf", "nan", "+inf"])
def test_one_infinite_logit_is_seen_wherever_it_stands(
    place: int, bad: float, device: torch.device
) -> None:
    """Whole tiles are read as if every logit were finite, the rest of a row with care."""
    logits_BV = make_logits(1, 20011)
    logits_BV[0, place] = bad
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
        one = slice(row, row + 1)
        alone = summarise(logits_BV[one], temperature_B[one])
        for name, values in together._asdict().items():
            assert torch.equal(values[one], getattr(alone, name)), (name, row)


def test_of_equal_logits_the_lower_id_comes_first(device: torch.device) -> None:
    logits_BV = torch.zeros(3, 200)
    logits_BV[0, [150, 30, 7]] = 2.0
    logits_BV[1, [199, 100]] = 2.0
    logits_BV[2, [64, 65, 66, 2]] = 2.0
    found = row_summary(row_statistics(logits_BV.to(device))).best_ids_BK
    assert found[0, :3].tolist() == [7, 30, 150]
    assert found[1, :2].tolist() == [100, 199]
    assert found[2, :4].tolist() == [2, 64, 65, 66]
