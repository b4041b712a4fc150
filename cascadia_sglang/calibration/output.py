"""Writes a calibration's files: one a tier, the report, its page and picture; an entry model."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from cascadia_sglang.calibration.calibrate import CalibratedCascade
from cascadia_sglang.calibration.certify import promises
from cascadia_sglang.calibration.drafts import confirmed, fit_second_judges, suggested_low
from cascadia_sglang.calibration.entry_model import Labelled, commit_at_once, fit_on_pool
from cascadia_sglang.calibration.page import page
from cascadia_sglang.calibration.picture import draw
from cascadia_sglang.calibration.pool import Pool
from cascadia_sglang.calibration.report import Report, reported_calibrations, save_json
from cascadia_sglang.calibration.split import Parts, parts_of
from cascadia_sglang.entry.model import save_entry_model, vocabulary_fingerprint
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


def write_second_judges(cascade: CalibratedCascade, parts: Parts, folder: Path) -> Iterator[str]:
    """Fit and write `NAME.draft.json` of every tier whose second judge is sure of some drafts.

    Where drafts were recorded, that is; yields what the operator should read of them.
    """
    judges = [judge for judge in fit_second_judges(cascade, parts) if judge.high is not None]
    high = max((judge.high for judge in judges if judge.high is not None), default=1.0)
    if judges:
        yield f"routing: verify: high: {high:.6g}"
    for judge in judges:
        name = cascade.settings.tier_names[judge.tier]
        path = folder / f"{name}.draft.json"
        told = confirmed(judge, cascade, parts.certify, high)
        report = {
            **judge.calibration.report,
            "high": high,
            "held_out_prompts": told.prompts,
            "held_out_confirmed": told.confirmed,
            "held_out_lost": told.lost,
        }
        model = cascade.settings.model(judge.tier)
        fitted = msgspec.structs.replace(judge.calibration, report=report, model=model)
        save_calibration(fitted, path)
        yield f"tier {name}: draft_calibration: {path}"
        yield (
            f"tier {name}: of {told.drafts} whole drafts held out {told.confirmed} are confirmed; "
            f"of {told.prompts} prompts that loses {told.lost} right answers"
        )
    if any(tier.kept_N is not None for tier in parts.choose.tiers):
        low = suggested_low(cascade, parts.choose)
        yield f"routing: verify: low: {low:g}"


def write_entry_model(
    cascade: CalibratedCascade,
    pool: Pool,
    prompt_ids: Sequence[Sequence[int] | None],
    vocabulary: Mapping[str, int],
    folder: Path,
    more: Labelled | None = None,
) -> Iterator[str]:
    """Fit an entry model and write `entry.json`; yields what the operator should read of it.

    Where too few prompts have ids, it says so and writes nothing.

    Args:
        pool: the sample that the cascade was calibrated on.
        prompt_ids: of its prompts; None where they are not known.
        more: prompts outside it that fit the entry model too.
    """
    rows = np.flatnonzero([ids is not None for ids in prompt_ids])
    known, pool = [ids for ids in prompt_ids if ids is not None], pool.take(rows)
    model = fit_on_pool(
        pool,
        known,
        cascade.settings.tier_cost,
        tiers=cascade.settings.tier_names,
        vocabulary=vocabulary_fingerprint(vocabulary),
        vocabulary_size=len(vocabulary),
        more=more,
    )
    if model is None:
        yield f"no entry model: {len(known)} prompts have token ids, too few to fit one"
        return
    path = folder / "entry.json"
    save_entry_model(model, path)
    yield f"routing: entry_model: {path}"
    told = model.report
    skipped = ", ".join(f"{name} by {told[f'skipped_{name}']:.1%}" for name in model.tiers[:-1])
    yield f"routing: entry: predicted: of the prompts held out, {skipped} would be skipped"
    held_out = np.flatnonzero(parts_of(pool) == "certify")
    served = cascade.replay(pool.take(held_out)).serve(cascade.thresholds)
    right_N = pool.tiers[0].right_N[held_out]
    found = commit_at_once(model, [known[row] for row in held_out], right_N, served.right_N)
    if found is not None:
        yield (
            f"routing: commit_at_once: {found.chance:g}: {found.share:.1%} of the prompts held "
            f"out, of which {found.loss:.2%} lose a right answer"
        )
