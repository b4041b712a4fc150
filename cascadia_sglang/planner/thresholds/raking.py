"""A live window as weights on the calibration sample.

Quality and shares under thresholds that were never tried live come from the calibration sample,
where every tier answered every prompt. A window enters as weights on that sample, so that the
weighted sample looks like the window in what every request shows: the entry tier's score, the
input and the output length there.

Shape legend: N prompts of the calibration sample, L requests of the live window, B bins.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cascadia_sglang.arrays import FloatArray, IntArray
from cascadia_sglang.errors import WorkloadError

SCORE, INPUT_TOKENS, OUTPUT_TOKENS = "entry_score", "input_tokens", "output_tokens"
SCORE_BINS, LENGTH_BINS = 10, 4
MIN_EFFECTIVE_SIZE = 200.0
_ROUNDS, _TOLERANCE = 200, 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowFit:
    """How a calibration sample stands for a live window.

    Attributes:
        weights_N: mean 1, none below 0.
        effective_size: Kish's (sum w)^2 / sum w^2; N where the window looks like the sample.
        uncovered: share of the window in bins that hold no prompt of the sample, the worst of the
            three quantities; nothing stands for those requests.
        largest_gap: between the weighted sample's and the window's share of a bin, at the end.
    """

    weights_N: FloatArray
    effective_size: float
    uncovered: float
    largest_gap: float

    @property
    def is_usable(self) -> bool:
        """Whether a plan may rest on it; if not, the plan in force stays."""
        return self.effective_size >= MIN_EFFECTIVE_SIZE


def fit_window(
    sample: Mapping[str, npt.ArrayLike], window: Mapping[str, npt.ArrayLike]
) -> WindowFit:
    """Weight a calibration sample by raking (iterative proportional fitting) over three margins.

    Args:
        sample: `entry_score`, `input_tokens` and `output_tokens`, [N] each, as the entry tier saw
            them; scores fall into 10 bins between the sample's quantiles, lengths into 4.
        window: the same of the live requests, [L] each.

    Raises:
        WorkloadError: if one is empty, holds a value that is not finite, or lacks a quantity.
    """
    bins_N: dict[str, IntArray] = {}
    shares_B: dict[str, FloatArray] = {}
    uncovered = 0.0
    for name, count in (
        (SCORE, SCORE_BINS),
        (INPUT_TOKENS, LENGTH_BINS),
        (OUTPUT_TOKENS, LENGTH_BINS),
    ):
        own_N, live_L = _values(sample, name, "sample"), _values(window, name, "window")
        inner = np.unique(np.quantile(own_N, np.linspace(0.0, 1.0, count + 1)[1:-1]))
        bins_N[name] = np.searchsorted(inner, own_N, side="right")
        bins = len(inner) + 1
        held_B = np.bincount(bins_N[name], minlength=bins)
        live_B = np.bincount(np.searchsorted(inner, live_L, side="right"), minlength=bins)
        share_B = np.where(held_B > 0, live_B, 0) / len(live_L)
        uncovered = max(uncovered, 1.0 - float(share_B.sum()))
        if share_B.sum() == 0.0:
            raise WorkloadError(f"no prompt of the sample is like the window in {name}")
        shares_B[name] = share_B / share_B.sum()
    if len({len(bins) for bins in bins_N.values()}) > 1:
        raise WorkloadError("the sample's quantities differ in number")
    weights_N, gap = _rake(bins_N, shares_B)
    size = float(weights_N.sum() ** 2 / np.square(weights_N).sum())
    return WindowFit(weights_N=weights_N, effective_size=size, uncovered=uncovered, largest_gap=gap)


def _values(given: Mapping[str, npt.ArrayLike], name: str, what: str) -> FloatArray:
    if name not in given:
        raise WorkloadError(f"the {what} has no {name}")
    values = np.asarray(given[name], np.float64)
    if len(values) == 0:
        raise WorkloadError(f"the {what} is empty")
    if not np.isfinite(values).all():
        index = int(np.flatnonzero(~np.isfinite(values))[0])
        raise WorkloadError(f"the {what}'s {name}[{index}] is {values[index]}")
    return values


def _rake(
    bins_N: Mapping[str, IntArray], shares_B: Mapping[str, FloatArray]
) -> tuple[FloatArray, float]:
    """Scale to one margin after the other until all fit, or no round brings them closer."""
    count = len(next(iter(bins_N.values())))
    weights_N = np.full(count, 1.0 / count)
    gap = 1.0
    for _ in range(_ROUNDS):
        gap = 0.0
        for name, share_B in shares_B.items():
            held_B = np.bincount(bins_N[name], weights_N, minlength=len(share_B))
            gap = max(gap, float(np.abs(held_B - share_B).max()))
            factor_B = np.divide(share_B, held_B, out=np.zeros_like(share_B), where=held_B > 0)
            weights_N = weights_N * factor_B[bins_N[name]]
            if weights_N.sum() == 0.0:
                raise WorkloadError("no prompt of the sample is like the window")
            weights_N = weights_N / weights_N.sum()
        if gap < _TOLERANCE:
            break
    return weights_N * count, gap
