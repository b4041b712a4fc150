"""What a calibration says of the probes that were tried."""

import math
from collections.abc import Iterator
from typing import Any

from cascadia_sglang.calibration.fit.calibrate import CalibratedCascade
from cascadia_sglang.calibration.fit.probe import ProbeTrial


def tried_probes(cascade: CalibratedCascade) -> Iterator[tuple[str, ProbeTrial]]:
    """Name of each tier whose hidden states were recorded, and what its probe was worth."""
    for name, trial in zip(cascade.settings.tier_names, cascade.trials, strict=False):
        if trial is not None:
            yield name, trial


def probe_lines(cascade: CalibratedCascade) -> Iterator[str]:
    """For every probe that was tried: whether it is used, and why."""
    for name, trial in tried_probes(cascade):
        if math.isnan(trial.loss_with):
            yield f"tier {name}: no probe: none could be fitted to {trial.answers} answers"
            continue
        measured = (
            f"log loss {trial.loss_with:.4f} with it, {trial.loss_without:.4f} without, on "
            f"{trial.answers} answers that the fits left out"
        )
        if trial.is_used:
            yield f"tier {name}: a probe is used: {measured}"
        else:
            yield f"tier {name}: no probe: {measured}; that is no gain beyond chance"


def probes_as_builtins(cascade: CalibratedCascade) -> list[dict[str, Any]]:
    """Plain values for `report.json`."""
    return [
        {
            "tier": name,
            "is_used": trial.is_used,
            "answers": trial.answers,
            "loss_with": trial.loss_with,
            "loss_without": trial.loss_without,
            "gain_low95": trial.gain_low95,
        }
        for name, trial in tried_probes(cascade)
    ]
