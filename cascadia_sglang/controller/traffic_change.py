"""Whether the traffic of two spans of time differs: tests with a bound on false alarms. Pure.

A reference span and a later, disjoint one are compared in the rate of arrivals, in the lengths of
prompts and answers, and in the scores of the first tier. Each look at them may err with at most
`alpha` divided by the number of tests that half an hour holds, so that over half an hour in which
nothing changes the chance of any alarm is at most `alpha` (union bound, whatever the dependence
between looks). What it takes for granted: requests are independent of one another within and
between the spans, and arrivals are a Poisson process up to a constant over-dispersion, which the
reference span tells.

Shape legend: N values of the reference, M of the recent span, B bins of the reference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from cascadia_sglang.arrays import FloatArray

ALPHA = 0.05
HALF_HOUR_S = 1800.0
QUANTITIES = ("rate", "input_tokens", "output_tokens", "score")
# With fewer values on a side nothing is said of a distribution.
LEAST_VALUES = 30
_BIN_S = 1.0


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A quantity that is no longer as it was.

    Attributes:
        p_bound: what the chance of such a difference is at most, where nothing has changed.
        before, now: its mean in the reference and in the recent span; of the rate, per second.
    """

    quantity: str
    p_bound: float
    before: float
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The traffic of some time.

    Attributes:
        arrivals_s_N: when requests came; within the span, whose beginning and end are known too.
        values: of the finished requests, by quantity; scores only where there was one.
    """

    start_s: float
    end_s: float
    arrivals_s_N: FloatArray
    values: dict[str, FloatArray]

    @property
    def seconds(self) -> float:
        return self.end_s - self.start_s

    @property
    def rate_per_s(self) -> float:
        return len(self.arrivals_s_N) / self.seconds


def level(alpha: float, looks_per_half_hour: float, spans: int) -> float:
    """What one test of one look may err."""
    return alpha / (looks_per_half_hour * spans * len(QUANTITIES))


def changes(pairs: Sequence[tuple[Span, Span]], test_level: float) -> list[Change]:
    """What has changed, the surest first; at most one entry a quantity.

    Args:
        pairs: a reference and a recent span, disjoint.
    """
    surest: dict[str, Change] = {}
    for reference, recent in pairs:
        for quantity in QUANTITIES:
            change = _compare(quantity, reference, recent)
            if change is None or change.p_bound > test_level:
                continue
            if quantity not in surest or change.p_bound < surest[quantity].p_bound:
                surest[quantity] = change
    return sorted(surest.values(), key=lambda change: change.p_bound)


def _compare(quantity: str, reference: Span, recent: Span) -> Change | None:
    if quantity == "rate":
        bound = rate_bound(reference, recent)
        before, now = reference.rate_per_s, recent.rate_per_s
    else:
        old_N = reference.values.get(quantity, np.empty(0))
        new_M = recent.values.get(quantity, np.empty(0))
        if min(len(old_N), len(new_M)) < LEAST_VALUES:
            return None
        bound = distribution_bound(old_N, new_M)
        before, now = float(old_N.mean()), float(new_M.mean())
    return Change(quantity=quantity, p_bound=bound, before=before, now=now)


def rate_bound(reference: Span, recent: Span) -> float:
    """Bound on the chance of counts that differ so much under one rate.

    Given both counts' sum, the recent one is binomial; Chernoff's bound of its tails, two-sided.
    Where the reference's counts vary more than a Poisson process's, all counts weigh less.
    """
    spread = dispersion(reference)
    recent_count = len(recent.arrivals_s_N) / spread
    total = len(reference.arrivals_s_N) / spread + recent_count
    if total == 0:
        return 1.0
    expected = recent.seconds / (reference.seconds + recent.seconds)
    return min(1.0, 2.0 * math.exp(-total * _relative_entropy(recent_count / total, expected)))


def dispersion(span: Span) -> float:
    """Variance over mean of the counts in bins of a second or more, at least 1."""
    bins = max(2, min(int(span.seconds / _BIN_S), len(span.arrivals_s_N) // 5))
    counts_B, _ = np.histogram(span.arrivals_s_N, bins=bins, range=(span.start_s, span.end_s))
    mean = float(counts_B.mean())
    return max(1.0, float(counts_B.var(ddof=1)) / mean) if mean > 0 else 1.0


def _relative_entropy(share: float, expected: float) -> float:
    """Of one Bernoulli variable to another, in nats."""
    total = 0.0
    for p, q in ((share, expected), (1.0 - share, 1.0 - expected)):
        if p > 0.0:
            total += p * math.log(p / q)
    return max(0.0, total)


def distribution_bound(old_N: FloatArray, new_M: FloatArray) -> float:
    """Bound on the chance that two samples of one distribution lie so far apart.

    The Dvoretzky-Kiefer-Wolfowitz inequality for two samples with the constant e, which is proved
    for samples of one size (Wei and Dudley, Statistics and Probability Letters 82, 2012).
    """
    old, new = np.sort(old_N), np.sort(new_M)
    points = np.concatenate((old, new))
    gap = np.abs(
        np.searchsorted(old, points, "right") / len(old)
        - np.searchsorted(new, points, "right") / len(new)
    ).max()
    effective = len(old) * len(new) / (len(old) + len(new))
    return min(1.0, math.e * math.exp(-2.0 * effective * float(gap) ** 2))
