"""Collects labels while the cascade serves, and has tiers fitted when there are enough.

It owns the state folder and each tier's progress. A fit runs in a process of its own; what it finds
is put in force between two requests, and no failure of it reaches one.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from cascadia_sglang.calibration.fit.certify import CONFIDENCE
from cascadia_sglang.judge.calibration import Calibration
from cascadia_sglang.metrics.counters import Metrics
from cascadia_sglang.self_calibration.fit import FitQuality, FitResult, Fitting, TierFit
from cascadia_sglang.self_calibration.fit_process import FitRequest, ask_fit
from cascadia_sglang.self_calibration.label import Label, LabelRates, first_rates, later_rates
from cascadia_sglang.self_calibration.progress import NEEDED, SelfCalibrationProgress
from cascadia_sglang.self_calibration.state_folder import ActiveFit, State, StateFolder

logger = logging.getLogger(__name__)

LOOK_S = 5.0


class Serving(Protocol):
    """The running cascade, as self-calibration sees it."""

    def fitting(self, tier: int, *, fits: bool) -> Fitting:
        """A tier as a fit takes it: its calibration in force, and what decides on its threshold."""
        ...

    def activate(self, tier: int, path: Path, calibration: Calibration) -> None:
        """Score the tier's answers by this file from now on, and watch them anew."""
        ...

    def label(self, rates: LabelRates, likely: float | None) -> None:
        """Draw labels so from now on, and take answers of this likelihood for agreed with."""
        ...

    def is_alarmed(self, tier: int) -> bool:
        """Whether a watch says that the tier's scores or its agreement have drifted."""
        ...


Fit = Callable[[FitRequest], Awaitable[FitResult]]


class SelfCalibration:
    """One server's. `take` and `run` are called on its event loop."""

    def __init__(
        self,
        tiers: Mapping[int, str],
        judged: Sequence[int],
        folder: StateFolder,
        serving: Serving,
        label_rate: float,
        early_abort: float | None,
        metrics: Metrics,
        fit: Fit = ask_fit,
    ) -> None:
        """Prepare; `restore` begins.

        Args:
            tiers: names of the tier indices that calibrate themselves.
            judged: all tier indices below the last that have a judge, ascending.
        """
        self.progress = {tier: SelfCalibrationProgress() for tier in tiers}
        self._names = tiers
        self._judged = judged
        self._folder = folder
        self._serving = serving
        self._label_rate = label_rate
        self._early_abort = early_abort
        self._metrics = metrics
        self._fit = fit
        self._state = State(digest=folder.digest)
        # Of the labels that count: their numbers, weights and visits.
        self._seen: deque[tuple[int, float, tuple[tuple[int, str], ...]]] = deque()
        self._has_failed_to_keep = False
        self._is_closed = False

    def restore(self) -> None:
        """Go on from what the folder holds.

        Raises:
            ConfigError: if it cannot be used, or belongs to another cascade.
        """
        self._state = self._folder.open()
        for number, label in self._folder.labels(self._state.first_label):
            self._count(number, label)
        for tier, (path, calibration) in self._folder.calibrations(self._state).items():
            if tier not in self.progress:
                continue
            progress = self.progress[tier]
            progress.is_fitted, progress.quality = True, self._state.tiers[str(tier)].quality
            progress.tried()
            self._serving.activate(tier, path, calibration)
        self._draw()

    def take(self, label: Label) -> None:
        """Keep a label."""
        if self._is_closed:
            return
        try:
            number = self._folder.append(label)
        except OSError as error:
            if not self._has_failed_to_keep:
                self._has_failed_to_keep = True
                logger.warning("labels are not kept: %s: %s", self._folder.path, error)
            return
        self._count(number, label)
        for visit in label.visits:
            if visit.tier in self.progress:
                self._metrics.labelled(visit.tier, visit.kind)

    async def run(self) -> None:
        """Fit whenever it is due. Runs until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.check()

    async def check(self) -> None:
        """Fit the tiers that are due."""
        alarmed = {tier for tier in self.progress if self._serving.is_alarmed(tier)}
        due = {tier for tier, progress in self.progress.items() if progress.is_due(tier in alarmed)}
        if not due:
            return
        if due & alarmed:
            self._forget_half(due)
        # A tier below counts for those above, so whatever has enough labels is fitted along.
        ready = {
            t for t, progress in self.progress.items() if progress.count.effective >= NEEDED
        } | due
        try:
            result = await self._fit(self._request(ready))
            self._apply(result)
        except Exception as error:  # noqa: BLE001  the server goes on with what it has
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            logger.warning("self-calibration: %s", reason)
            for tier in ready:
                self.progress[tier].failed += 1
                self.progress[tier].refusal = reason
                self.progress[tier].tried(has_failed=True)
                self._tell(tier, "failed")

    def summary(self, tier: int) -> dict[str, Any] | None:
        """As the status shows it; None for a tier that does not calibrate itself."""
        progress = self.progress.get(tier)
        if progress is None:
            return None
        quality = progress.quality
        return {
            "state": progress.state,
            "labels": progress.count.labels,
            "by_words": progress.by_kind["words"],
            "by_likelihood": progress.by_kind["likelihood"],
            "effective_labels": round(progress.count.effective, 1),
            "needed": NEEDED,
            "fits": progress.fits,
            "refused": progress.refused,
            "failed": progress.failed,
            "why": progress.refusal,
            "likely": self._state.likely,
            **_shown(quality, self._confidence_each()),
        }

    def effective_labels(self) -> dict[int, float]:
        """Equally weighted labels that each tier's are worth."""
        return {tier: progress.count.effective for tier, progress in self.progress.items()}

    def close(self) -> None:
        """Let another server have the folder; no label is taken any more."""
        self._is_closed = True
        self._folder.close()

    def _count(self, number: int, label: Label) -> None:
        visits = tuple((v.tier, v.kind) for v in label.visits if v.tier in self.progress)
        self._seen.append((number, label.weight, visits))
        for tier, kind in visits:
            self.progress[tier].count.add(label.weight)
            self.progress[tier].by_kind[kind] += 1

    def _forget_half(self, tiers: set[int]) -> None:
        """Leave the older half of the labels out from now on: they are of traffic that is gone.

        Not where the newer half would be too few to fit.
        """
        before = list(self._seen)
        newer = before[len(before) // 2 :]
        counts = {tier: SelfCalibrationProgress().count for tier in self.progress}
        for _, weight, visits in newer:
            for tier, _ in visits:
                counts[tier].add(weight)
        if any(counts[tier].effective < NEEDED for tier in tiers):
            return
        self._state = msgspec.structs.replace(self._state, first_label=newer[0][0])
        self._seen = deque(newer)
        for tier, progress in self.progress.items():
            progress.count = counts[tier]

    def _request(self, tiers: set[int]) -> FitRequest:
        return FitRequest(
            folder=str(self._folder.path),
            digest=self._folder.digest,
            first_label=self._state.first_label,
            tiers=[self._serving.fitting(tier, fits=tier in tiers) for tier in self._judged],
            early_abort=self._early_abort,
            error=self._error_each(),
        )

    def _apply(self, result: FitResult) -> None:
        number = self._state.fits + 1
        tiers = dict(self._state.tiers)
        swapped: list[tuple[int, Path, Calibration]] = []
        for fit in result.tiers:
            if fit.calibration is not None and fit.quality is not None:
                path = self._folder.save_fit(fit.tier, number, fit.calibration)
                tiers[str(fit.tier)] = ActiveFit(file=path.name, quality=fit.quality)
                swapped.append((fit.tier, path, fit.calibration))
        self._state = msgspec.structs.replace(
            self._state, fits=number, likely=result.likely, tiers=tiers
        )
        self._folder.save_state(self._state)
        for tier, path, calibration in swapped:
            self._serving.activate(tier, path, calibration)
        for fit in result.tiers:
            self._note(fit)
        self._draw()

    def _note(self, fit: TierFit) -> None:
        progress, name = self.progress[fit.tier], self._names[fit.tier]
        progress.refusal = fit.refusal
        progress.tried()
        if fit.quality is not None:
            progress.quality = fit.quality
        if fit.calibration is None:
            progress.refused += 1
            self._tell(fit.tier, "refused")
            logger.info("self-calibration: tier %s stays as it is: %s", name, fit.refusal)
            return
        progress.is_fitted = True
        progress.fits += 1
        self._tell(fit.tier, "fitted")
        logger.info(
            "self-calibration: tier %s is calibrated on %d labels", name, progress.count.labels
        )

    def _draw(self) -> None:
        is_fitted = any(progress.is_fitted for progress in self.progress.values())
        rates = (later_rates if is_fitted else first_rates)(self._label_rate)
        self._serving.label(rates, self._state.likely)

    def _tell(self, tier: int, outcome: str) -> None:
        self._metrics.self_calibrated(tier, outcome)

    def _error_each(self) -> float:
        """Of one tier's bound, such that all hold at once with the confidence of a calibration."""
        return (1.0 - CONFIDENCE) / max(1, len(self.progress))

    def _confidence_each(self) -> float:
        return 1.0 - self._error_each()


def _shown(quality: FitQuality | None, confidence: float) -> dict[str, Any]:
    """What is known of the score in force; None throughout before anything is."""
    if quality is None:
        return dict.fromkeys(("bound", "unseen", "auroc", "rank_auroc", "ece"))
    return {
        "bound": {
            "disagree_at_most": None if quality.bound is None else round(quality.bound, 4),
            "confidence": round(confidence, 4),
            "threshold": round(quality.threshold, 6),
            "accepted": quality.accepted,
            "differed": quality.differed,
            "needed": quality.needed,
        },
        "unseen": quality.unseen,
        "auroc": _rounded(quality.auroc),
        "rank_auroc": _rounded(quality.rank_auroc),
        "ece": _rounded(quality.ece),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 4)
