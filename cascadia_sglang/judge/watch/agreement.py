"""Whether accepted answers still equal the last tier's as often as when a tier was calibrated."""

import math
from collections import deque
from dataclasses import dataclass

import msgspec

WINDOW = 1000
LEAST_ANSWERS = 100
# False alarms of one look, where nothing has changed: at most one in a thousand.
ALPHA = 0.001


class Agreement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Agreement of a tier's accepted answers with the last tier's answers."""

    agreed: int
    """Answers that equal the last tier's answer to the same prompt."""
    answers: int
    """Accepted answers that were compared."""

    def __post_init__(self) -> None:
        if not 0 <= self.agreed <= self.answers:
            raise ValueError("agreed must be from 0 to answers")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementNow:
    """The last shadowed answers beside the calibration's.

    Attributes:
        p_value: the chance of so few agreeing where the share is the calibration's (Fisher's exact
            test, one-sided); None where the calibration does not tell, or too few were shadowed.
    """

    now: Agreement
    expected: Agreement | None
    p_value: float | None

    @property
    def is_alarm(self) -> bool:
        return self.p_value is not None and self.p_value < ALPHA


class AgreementWatch:
    """The last shadowed answers of one tier: accepted there, and given by the last tier too."""

    def __init__(self, expected: Agreement | None) -> None:
        self._expected = expected
        self._window: deque[bool] = deque(maxlen=WINDOW)

    def add(self, agrees: bool) -> None:
        """Take one more shadowed answer."""
        self._window.append(agrees)

    def state(self) -> AgreementNow:
        now = Agreement(agreed=sum(self._window), answers=len(self._window))
        p_value = None
        if self._expected is not None and self._expected.answers and now.answers >= LEAST_ANSWERS:
            p_value = fisher(now, self._expected)
        return AgreementNow(now=now, expected=self._expected, p_value=p_value)


def fisher(now: Agreement, expected: Agreement) -> float:
    """P(no more than `now.agreed` agree), given how many agree of both together."""
    agreed, total = now.agreed + expected.agreed, now.answers + expected.answers
    least = max(0, agreed - expected.answers)
    terms = [
        _log_choose(agreed, k) + _log_choose(total - agreed, now.answers - k)
        for k in range(least, now.agreed + 1)
    ]
    return min(1.0, math.fsum(math.exp(t - _log_choose(total, now.answers)) for t in terms))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
