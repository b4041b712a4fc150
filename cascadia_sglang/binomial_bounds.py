"""Exact one-sided bounds on a rate (Clopper and Pearson, 1934, Biometrika 26).

Counts may be fractions, so that a rate can be followed through sample sizes.
"""

from collections.abc import Callable
from functools import lru_cache

# Beyond so many trials nobody labels: a rate that near its bound counts as not to be shown.
MOST_TRIALS = 10_000_000


@lru_cache(maxsize=65_536)
def upper_bound(count: float, trials: float, error: float) -> float:
    """Largest rate under which `count` or fewer events in `trials` have a chance of `error`."""
    return 1.0 if count >= trials else _beta_quantile(count + 1, trials - count, 1 - error)


@lru_cache(maxsize=65_536)
def lower_bound(count: float, trials: float, error: float) -> float:
    """Smallest rate under which `count` or more events in `trials` have a chance of `error`."""
    return 0.0 if count == 0 else _beta_quantile(count, trials - count + 1, error)


def _beta_quantile(a: float, b: float, probability: float) -> float:
    # A server imports this module and asks for no bound: its fits run in a process of their own.
    from scipy.special import betaincinv

    return float(betaincinv(a, b, probability))


def least_trials(is_shown: Callable[[int], bool]) -> int | None:
    """The least number of trials with which something is shown; None above `MOST_TRIALS`.

    Args:
        is_shown: false up to some number of trials, and true from there on.
    """
    high = 1
    while not is_shown(high):
        high *= 2
        if high > MOST_TRIALS:
            return None
    low = high // 2  # not shown with so many
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_shown(middle) else (middle, high)
    return high
