"""How far a tier is: its labels, and when they are worth a fit."""

from dataclasses import dataclass, field

from cascadia_sglang.self_calibration.fit import FitQuality
from cascadia_sglang.self_calibration.label import EffectiveCount

# A quarter of the labels, 75 of these, checks a fit; a quarter certifies it, and about half of that
# is accepted answers, where a bound for one tier needs 29.
NEEDED = 300.0
# More labels, as a share, after which a fit that failed is tried again.
_AFTER_FAILURE = 1.25
_AFTER_FIT = 2.0
# An alarm calls for a fit once this many labels are new; before, it would fit the same again.
_AFTER_ALARM = NEEDED / 3


@dataclass(slots=True)
class SelfCalibrationProgress:
    """One self-calibrating tier.

    Attributes:
        count: of the labels since `first_label`.
        by_kind: labels whose agreement the words tell, and those where the likelihood does.
        quality: of what is in force; None before anything is known.
        refusal: why the last fit was refused or failed; None where it was not.
        fits, refused, failed: how many.
    """

    count: EffectiveCount = field(default_factory=EffectiveCount)
    by_kind: dict[str, int] = field(default_factory=lambda: {"words": 0, "likelihood": 0})
    is_fitted: bool = False
    quality: FitQuality | None = None
    refusal: str | None = None
    fits: int = 0
    refused: int = 0
    failed: int = 0
    _tried_at: float = 0.0
    _next_at: float = NEEDED

    def is_due(self, is_alarmed: bool) -> bool:
        """Whether there are enough labels for a fit, and enough new ones for another."""
        effective = self.count.effective
        if self.is_fitted and is_alarmed and effective >= self._tried_at + _AFTER_ALARM:
            return True
        return effective >= self._next_at

    def tried(self, *, has_failed: bool = False) -> None:
        """Note a fit on all labels so far."""
        self._tried_at = self.count.effective
        factor = _AFTER_FAILURE if has_failed else _AFTER_FIT
        self._next_at = max(NEEDED, factor * self._tried_at)

    @property
    def state(self) -> str:
        if self.is_fitted:
            return "fitted"
        return "collecting" if self.refusal is None else "refused"
