"""A calibration's report as a picture; needs matplotlib."""

from pathlib import Path
from typing import Any

import numpy as np

from cascadia_sglang.calibration.record.pool import Pool
from cascadia_sglang.calibration.report.report import Report

_BINS = 15


def draw(report: Report, certify: Pool, path: Path) -> bool:
    """Write the picture; False where matplotlib is missing.

    Left, quality against cost: one threshold for all tiers, and the chosen thresholds. Right, how
    often answers of a score are right, on the prompts that reach each tier.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _quality(left, report)
    _reliability(right, report, certify)
    figure.savefig(path, metadata={"Date": None})
    return True


def _quality(axes: Any, report: Report) -> None:
    held_out = report.cascade.held_out
    axes.plot(
        [point.cost for point in report.curve],
        [point.quality for point in report.curve],
        color="0.6",
        label="one threshold for all tiers",
    )
    axes.plot([held_out.cost], [held_out.quality], "o", label="chosen thresholds")
    axes.axhline(held_out.quality + held_out.loss, ls=":", color="0.3", label="last tier alone")
    axes.set_xlabel("mean cost of a prompt")
    axes.set_ylabel("share of acceptable answers")
    axes.legend()


def _reliability(axes: Any, report: Report, certify: Pool) -> None:
    cascade = report.cascade
    served = cascade.replay(certify).serve(cascade.thresholds)
    axes.plot([0, 1], [0, 1], ":", color="0.3")
    for index, score_N in enumerate(cascade.scores(certify, served)):
        rows = np.flatnonzero(served.reached_NT[:, index] & np.isfinite(score_N))
        bins = np.array_split(rows[np.argsort(score_N[rows], kind="stable")], _BINS)
        full = [bin_rows for bin_rows in bins if len(bin_rows)]
        right_N = certify.tiers[index].right_N
        axes.plot(
            [score_N[bin_rows].mean() for bin_rows in full],
            [right_N[bin_rows].mean() for bin_rows in full],
            ".-",
            label=cascade.settings.tier_names[index],
        )
    axes.set_xlabel("score")
    axes.set_ylabel("share of acceptable answers")
    axes.legend()
