"""The demo as its committed files have it, on recorded answers."""

from __future__ import annotations

from cascadia_sglang.calibration.fit.calibrate import CalibratedCascade, certified
from cascadia_sglang.calibration.fit.replay import CascadeReplay
from cascadia_sglang.calibration.fit.split import Parts
from cascadia_sglang.calibration.fit.thresholds import outcome_of
from cascadia_sglang.calibration.record.pool import Pool
from cascadia_sglang.config.cascade_file import load_cascade
from cascadia_sglang.judge.calibration import Calibration, load_calibrations
from demo import CASCADE
from demo.calibrate.fit import settings


def thresholds() -> tuple[float, ...]:
    """One for every tier but the last."""
    return tuple(load_cascade(CASCADE).routing.thresholds)


def calibrations() -> list[Calibration]:
    """One for every tier, smallest first."""
    loaded = load_calibrations(load_cascade(CASCADE).calibrations())
    return [loaded[tier] for tier in sorted(loaded)]


def replay(pool: Pool) -> CascadeReplay:
    """The demo's calibrations on these answers."""
    return CascadeReplay(calibrations(), pool, settings().early_abort)


def cascade(parts: Parts) -> CalibratedCascade:
    """The demo at its own thresholds, certified on these answers."""
    fit_settings, demo_thresholds = settings(), thresholds()
    chosen = outcome_of(
        replay(parts.choose).serve(demo_thresholds), demo_thresholds, fit_settings.tier_cost
    )
    return certified(calibrations(), chosen, parts.certify, fit_settings)
