"""Inputs and tolerances of the kernel tests and the kernel bench.

Shape legend: B rows, V vocabulary.
"""

import math
from typing import NamedTuple

import torch


class Tolerance(NamedTuple):
    """Allowed distance from the float64 reference: `absolute + relative * |reference|`."""

    absolute: float
    relative: float


# Inputs are rounded to their dtype before the reference sees them, and every op computes in
# float32, so all dtypes have float32's tolerance. What shows there is the sum over the vocabulary:
# adding 50,000 terms in order loses up to 5e-6 of it, which shifts every log-probability by as
# much and the entropy by that share of itself. Both are doubled.
_FLOAT32 = Tolerance(absolute=1e-5, relative=1e-5)
TOLERANCES: dict[torch.dtype, Tolerance] = {
    torch.float32: _FLOAT32,
    torch.bfloat16: _FLOAT32,
    torch.float16: _FLOAT32,
}


def make_logits(
    rows: int, columns: int, dtype: torch.dtype = torch.float32, seed: int = 0, spread: float = 4.0
) -> torch.Tensor:
    """Logits of a language model's shape: normal, with a column that stands out in every row.

    Args:
        spread: standard deviation; the best column lies up to four of it above the rest.

    Returns:
        [B, V] on the CPU, rounded to `dtype`.
    """
    generator = torch.Generator().manual_seed(seed)
    logits_BV = spread * torch.randn(rows, columns, generator=generator)
    best_B1 = torch.randint(columns, (rows, 1), generator=generator)
    lift_B1 = 4.0 * spread * torch.rand(rows, 1, generator=generator)
    return logits_BV.scatter_add(1, best_B1, lift_B1).to(dtype)


def make_temperatures(rows: int, seed: int = 0) -> torch.Tensor:
    """Temperatures from 0.1 to 2, float32, [B]."""
    return 0.1 + 1.9 * torch.rand(rows, generator=torch.Generator().manual_seed(seed))


def assert_near(actual: float, expected: float, tolerance: Tolerance, what: str) -> None:
    """Compare one number with the reference; infinities must be equal.

    Raises:
        AssertionError: names what differs, both numbers and the distance allowed.
    """
    allowed = tolerance.absolute
    if math.isfinite(expected):
        allowed += tolerance.relative * abs(expected)
    if not (actual == expected or abs(actual - expected) <= allowed):
        raise AssertionError(f"{what} is {actual!r}, expected {expected!r} within {allowed:.2e}")
