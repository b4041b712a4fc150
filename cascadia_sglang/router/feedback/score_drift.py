"""The distance of each tier's scores from those of its calibration."""

from collections.abc import Mapping

from cascadia_sglang.judge.calibration import Calibration
from cascadia_sglang.judge.drift_watch import ScoreWatch
from cascadia_sglang.router.events import PromptFinished


class ScoreDrift:
    """Owns a watch over the scores of each calibrated tier."""

    def __init__(self, calibrations: Mapping[int, Calibration]) -> None:
        """`calibrations` are those of the tier indices that start with one."""
        self._watches = {tier: ScoreWatch(one) for tier, one in calibrations.items()}

    def watch(self, tier: int) -> ScoreWatch | None:
        """The watch of a tier index; None where it has no calibration."""
        return self._watches.get(tier)

    def replace(self, tier: int, watch: ScoreWatch) -> None:
        """Show a tier's scores to another watch from now on."""
        self._watches[tier] = watch

    def prompt_finished(self, event: PromptFinished) -> None:
        """Take in the scores of whole answers that came the cascade's own way."""
        if not (self._watches and event.prompt.is_own_way):
            return
        for attempt in event.attempts:
            watch = self._watches.get(attempt.tier_index)
            is_shown = attempt.is_whole and attempt.calibrated
            if watch is not None and attempt.score is not None and is_shown:
                watch.add(attempt.score)
