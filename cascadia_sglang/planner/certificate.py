"""A quality floor that holds with a stated confidence, one-sidedly.

One half of the sample chooses thresholds, the other says what they are worth. Several choices may
be tried on the second half, the safest first and each only after the one before it has passed: the
chance of passing a bad one then stays that of a single test (fixed sequence testing; for risk
control: Angelopoulos et al., Learn then Test, 2021).

Shape legend: N rows.
"""

from __future__ import annotations

import math

import numpy as np

from cascadia_sglang.arrays import FloatArray, IntArray
from cascadia_sglang.binomial_bounds import least_trials, lower_bound
from cascadia_sglang.planner.plan import Certificate
from cascadia_sglang.planner.replay import Sample


def halves(sample: Sample, seed: int) -> tuple[IntArray, IntArray]:
    """Row indices of two halves of a sample's prompts, drawn at random.

    Rows of equal prompts are in one half.
    """
    prompts = int(sample.prompt_N.max(initial=-1)) + 1
    order = np.random.default_rng(seed).permutation(prompts)
    is_first_N = np.isin(sample.prompt_N, order[: (prompts + 1) // 2])
    return np.flatnonzero(is_first_N), np.flatnonzero(~is_first_N)


def certify(sample: Sample, thresholds: list[float], confidence: float) -> Certificate:
    """What rows that did not choose the thresholds say of their quality."""
    answered_N = sample.answered(thresholds)
    return Certificate(
        quality=sample.mean(answered_N),
        lower_bound=mean_lower_bound(answered_N, sample.weight_N, confidence),
        confidence=confidence,
        rows=len(answered_N),
    )


def mean_lower_bound(values_N: FloatArray, weight_N: FloatArray, confidence: float) -> float:
    """Smallest mean that values in [0, 1] leave plausible; 0 without any.

    Right or wrong answers of equal weight: Clopper and Pearson's bound, exact at every size.
    Otherwise Hoeffding's with the effective number of rows, wider and as safe where weights do not
    depend on the answers.
    """
    if len(values_N) == 0:
        return 0.0
    if _is_exact(values_N, weight_N):
        return lower_bound(int(values_N.sum()), len(values_N), 1 - confidence)
    total = float(weight_N.sum())
    margin = math.sqrt(-math.log(1 - confidence) / (2 * effective_rows(weight_N)))
    return max(0.0, float(weight_N @ values_N) / total - margin)


def effective_rows(weight_N: FloatArray) -> float:
    """Rows of equal weight that would tell as much: (sum w)^2 / sum w^2 (Kish, 1965)."""
    return float(weight_N.sum()) ** 2 / float(weight_N @ weight_N)


def rows_needed(floor: float, confidence: float) -> int:
    """Rows without a single wrong answer that certify a floor below 1."""
    return max(1, math.ceil(math.log(1 - confidence) / math.log(floor))) if floor > 0 else 1


def more_rows(
    sample: Sample, thresholds: list[float], floor: float, confidence: float
) -> int | None:
    """Rows that are needed besides these, of both halves, to certify a floor by such thresholds.

    About: as if the share of right answers stayed what it is. None where it is not above the floor.
    """
    answered_N = sample.answered(thresholds)
    quality, alpha = sample.mean(answered_N), 1 - confidence
    if quality <= floor:
        return None
    if _is_exact(answered_N, sample.weight_N):
        needed = least_trials(lambda rows: lower_bound(quality * rows, rows, alpha) >= floor)
    else:
        share = effective_rows(sample.weight_N) / len(answered_N)
        needed = math.ceil(-math.log(alpha) / (2 * (quality - floor) ** 2) / share)
    return None if needed is None else 2 * max(1, needed - len(answered_N))


def _is_exact(values_N: FloatArray, weight_N: FloatArray) -> bool:
    """Whether values are right or wrong and weigh the same, so that an exact bound is known."""
    is_binary = bool(np.isin(values_N, (0.0, 1.0)).all())
    return is_binary and bool(np.allclose(weight_N, weight_N[0], rtol=1e-9, atol=0))
