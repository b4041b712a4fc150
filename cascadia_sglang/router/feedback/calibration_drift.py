"""How far each tier's answers are from those of its calibration: their scores, their features."""

from collections.abc import Mapping

from cascadia_sglang.judge.calibration import Calibration
from cascadia_sglang.judge.watch.drift import ScoreWatch
from cascadia_sglang.judge.watch.features import FeatureWatch
from cascadia_sglang.router.events import PromptFinished


class TierWatch:
    """Owns the watches over one calibrated tier."""

    def __init__(self, calibration: Calibration) -> None:
        summary = calibration.feature_summary
        self.scores = ScoreWatch(calibration)
        self.features = None if summary is None else FeatureWatch(summary)

    def add(self, score: float, features: list[float] | None) -> None:
        """Take in a whole answer; `features` where the judge reports them."""
        self.scores.add(score)
        if self.features is not None and features is not None:
            self.features.add(features)

    @property
    def is_alarm(self) -> bool:
        """Whether the scores or the features have drifted."""
        drift = self.scores.drift()
        shift = None if self.features is None else self.features.shift()
        return (drift is not None and drift.is_alarm) or (shift is not None and shift.is_alarm)


class CalibrationDrift:
    """Owns a watch over each calibrated tier."""

    def __init__(self, calibrations: Mapping[int, Calibration]) -> None:
        """`calibrations` are those of the tier indices that start with one."""
        self._watches = {tier: TierWatch(c) for tier, c in calibrations.items()}

    def watch(self, tier: int) -> TierWatch | None:
        """The watch of a tier index; None where it has no calibration."""
        return self._watches.get(tier)

    def replace(self, tier: int, watch: TierWatch) -> None:
        """Show a tier's answers to another watch from now on."""
        self._watches[tier] = watch

    def prompt_finished(self, event: PromptFinished) -> None:
        """Take in whole answers that came the cascade's own way."""
        if not (self._watches and event.prompt.is_own_way):
            return
        for attempt in event.attempts:
            watch = self._watches.get(attempt.tier_index)
            is_shown = attempt.is_whole and attempt.calibrated
            if watch is not None and attempt.score is not None and is_shown:
                watch.add(attempt.score, attempt.features)
