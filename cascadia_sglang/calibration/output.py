"""Writes a calibration's files: one a tier, the report, its page and picture."""

import sys
from collections.abc import Iterator
from pathlib import Path

from cascadia_sglang.calibration.certify import promises
from cascadia_sglang.calibration.page import page
from cascadia_sglang.calibration.picture import draw
from cascadia_sglang.calibration.report import Report, reported_calibrations, save_json
from cascadia_sglang.calibration.split import Parts
from cascadia_sglang.judge.calibration import save_calibration

PICTURE = "report.svg"


def write(report: Report, parts: Parts, folder: Path) -> Iterator[str]:
    """Write everything into an existing folder; yields what the operator should read."""
    cascade = report.cascade
    for name, calibration in reported_calibrations(report, parts).items():
        path = folder / f"{name}.json"
        save_calibration(calibration, path)
        yield f"tier {name}: calibration: {path}"
    listed = ", ".join(f"{threshold:g}" for threshold in cascade.thresholds)
    yield f"routing: thresholds: [{listed}]"
    drawn = draw(report, parts.certify, folder / PICTURE)
    if not drawn:
        print("matplotlib is missing: no picture", file=sys.stderr, flush=True)
    save_json(report, folder / "report.json")
    (folder / "report.md").write_text(page(report, PICTURE if drawn else None))
    yield from promises(cascade.certificate, cascade.settings.tier_names)
    yield f"report: {folder / 'report.md'}"
