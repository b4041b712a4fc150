"""Connects self-calibration with the services of a running cascade."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from cascadia_sglang.config.label_settings import label_rate, self_calibrated_tiers
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.judge.calibration import Calibration
from cascadia_sglang.metrics.counters import Metrics
from cascadia_sglang.router.feedback.calibration_drift import TierWatch
from cascadia_sglang.router.feedback.shadow import Labelling, Likelihood
from cascadia_sglang.router.services import Services
from cascadia_sglang.self_calibration.controller import SelfCalibration
from cascadia_sglang.self_calibration.fit import Fitting
from cascadia_sglang.self_calibration.label import DEFAULT_LIKELY, Label, LabelRates
from cascadia_sglang.self_calibration.state_folder import StateFolder, digest_of


def configured_self_calibration(
    config: CascadeConfig,
    services: Services,
    calibrations: Mapping[int, Calibration],
    likelihood: Likelihood,
    metrics: Metrics,
) -> SelfCalibration | None:
    """The self-calibration of a cascade, at work; None where no tier calibrates itself.

    Args:
        calibrations: of the tier indices that have a file.
        likelihood: reads an answer on the last tier.

    Raises:
        ConfigError: if the state folder cannot be used, or belongs to another cascade.
    """
    tiers = self_calibrated_tiers(config)
    if not tiers:
        return None
    serving = CascadeServing(services, calibrations, tiers, likelihood)
    path = Path(config.state or tempfile.mkdtemp(prefix="cascadia-state-")).resolve()
    judged = sorted(tiers | set(calibrations) - {len(config.tiers) - 1})
    calibrating = SelfCalibration(
        {tier: config.tiers[tier].name for tier in sorted(tiers)},
        judged,
        StateFolder(path, digest_of(config), is_temporary=config.state is None),
        serving,
        label_rate(config),
        config.routing.early_abort,
        metrics,
    )
    serving.take = calibrating.take
    calibrating.restore()
    return calibrating


class CascadeServing:
    """The router's services, as self-calibration sees them. Implements its `Serving`."""

    def __init__(
        self,
        services: Services,
        calibrations: Mapping[int, Calibration],
        tiers: frozenset[int],
        likelihood: Likelihood,
    ) -> None:
        self._services = services
        self._calibrations = dict(calibrations)  # in force, by tier index
        self._tiers = tiers
        self._likelihood = likelihood
        self.take: Callable[[Label], None] = lambda _: None

    def fitting(self, tier: int, *, fits: bool) -> Fitting:
        scores = self._services.scores
        share = scores.rate(tier)
        return Fitting(
            tier=tier,
            calibration=self._calibrations.get(tier),
            fits=fits,
            share=0.0 if share is None else share,
            threshold=scores.threshold(tier) if share is None else None,
        )

    def activate(self, tier: int, path: Path, calibration: Calibration) -> None:
        self._services.scores.replace(tier, str(path), calibration)
        self._calibrations[tier] = calibration
        self._services.drift.replace(tier, TierWatch(calibration))
        self._services.shadow.watch(tier, calibration)

    def label(self, rates: LabelRates, likely: float | None) -> None:
        labelling = Labelling(
            tiers=self._tiers, take=lambda label: self.take(label), likelihood=self._likelihood
        )
        self._services.shadow.label(labelling, rates, DEFAULT_LIKELY if likely is None else likely)

    def is_alarmed(self, tier: int) -> bool:
        watch = self._services.drift.watch(tier)
        agreement = self._services.shadow.watches.get(tier)
        return (watch is not None and watch.is_alarm) or (
            agreement is not None and agreement.state().is_alarm
        )
