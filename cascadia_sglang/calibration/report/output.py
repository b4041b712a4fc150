"""Writes a calibration's files: one a tier, the report, its page and picture; an entry model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from cascadia_sglang.calibration.fit.calibrate import CalibratedCascade
from cascadia_sglang.calibration.fit.certify import promises
from cascadia_sglang.calibration.fit.entry_model import LabelledPrompts, commit_at_once, fit_on_pool
from cascadia_sglang.calibration.fit.second_judge import (
    SecondJudge,
    confirmed,
    fit_second_judges,
    suggested_low,
)
from cascadia_sglang.calibration.fit.split import Parts, parts_of
from cascadia_sglang.calibration.record.pool import Pool
from cascadia_sglang.calibration.report.page import page
from cascadia_sglang.calibration.report.picture import draw
from cascadia_sglang.calibration.report.probes import probe_lines
from cascadia_sglang.calibration.report.report import Report, reported_calibrations, save_json
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
    yield from probe_lines(cascade)
    listed = ", ".join(f"{threshold:g}" for threshold in cascade.thresholds)
    yield f"routing: thresholds: [{listed}]"
    drawn = draw(report, parts.certify, folder / PICTURE)
    save_json(report, folder / "report.json")
    (folder / "report.md").write_text(page(report, PICTURE if drawn else None))
    yield from promises(cascade.certificate, cascade.settings.tier_names)
    yield f"report: {folder / 'report.md'}"


def summary(cascade: CalibratedCascade) -> Iterator[str]:
    """Quality, shares and cost of the thresholds on the part that is held out."""
    held_out, settings = cascade.held_out, cascade.settings
    last = held_out.quality + held_out.loss
    yield (
        f"held out, {held_out.prompts} prompts: quality {held_out.quality:.4f} "
        f"({settings.tier_names[-1]} alone {last:.4f}), cost {held_out.cost:.4g} "
        f"({settings.tier_names[-1]} alone {settings.tier_cost[-1]:.4g})"
    )
    shares = zip(settings.tier_names, held_out.shares, strict=True)
    yield "held out, reached: " + ", ".join(f"{name} {share:.1%}" for name, share in shares)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondJudges:
    """What was fitted on drafts.

    Attributes:
        judges: of the tiers whose second judge is sure of some drafts.
        high, low: `second_judge` and `low` of `routing.drafts`; None where drafts do not tell.
    """

    judges: tuple[SecondJudge, ...]
    high: float | None
    low: float | None

    def settings(self) -> dict[str, float]:
        """Values of `routing.drafts`, as they are written down."""
        fitted = {"second_judge": self.high, "low": self.low}
        return {name: float(f"{value:.6g}") for name, value in fitted.items() if value is not None}


def second_judges(cascade: CalibratedCascade, parts: Parts) -> SecondJudges:
    """Fit a second judge for every tier that was recorded reading drafts."""
    judges = [judge for judge in fit_second_judges(cascade, parts) if judge.high is not None]
    is_read = any(tier.kept_N is not None for tier in parts.choose.tiers)
    return SecondJudges(
        judges=tuple(judges),
        high=max((judge.high for judge in judges if judge.high is not None), default=None),
        low=suggested_low(cascade, parts.choose) if is_read else None,
    )


def write_second_judges(
    second_judges: SecondJudges, cascade: CalibratedCascade, parts: Parts, folder: Path
) -> Iterator[str]:
    """Write `NAME.draft.json` of every second judge; yields what the operator should read."""
    high = 1.0 if second_judges.high is None else second_judges.high
    if second_judges.judges:
        yield f"routing: drafts: second_judge: {high:.6g}"
    for judge in second_judges.judges:
        name = cascade.settings.tier_names[judge.tier]
        path = folder / f"{name}.draft.json"
        counts = confirmed(judge, cascade, parts.certify, high)
        report = {
            **judge.calibration.report,
            "high": high,
            "held_out_prompts": counts.prompts,
            "held_out_confirmed": counts.confirmed,
            "held_out_lost": counts.lost,
        }
        vocabularies = cascade.settings.vocabularies
        fitted = msgspec.structs.replace(
            judge.calibration,
            report=report,
            draft_vocabularies=[vocabularies[judge.tier - 1], vocabularies[judge.tier]]
            if vocabularies
            else None,
            **cascade.settings.source(judge.tier),
        )
        save_calibration(fitted, path)
        yield f"tier {name}: draft_calibration: {path}"
        yield (
            f"tier {name}: of {counts.drafts} whole drafts held out {counts.confirmed} are "
            f"confirmed; of {counts.prompts} prompts that loses {counts.lost} right answers"
        )
    if second_judges.low is not None:
        yield f"routing: drafts: low: {second_judges.low:g}"


def write_entry_model(
    cascade: CalibratedCascade,
    pool: Pool,
    prompt_ids: Sequence[Sequence[int] | None],
    vocabulary: Mapping[str, int],
    folder: Path,
    more: LabelledPrompts | None = None,
) -> Iterator[str]:
    """Fit an entry model and write `entry.json`; yields what the operator should read of it.

    Where too few prompts have ids, it says so and writes nothing.

    Args:
        pool: the sample that the cascade was calibrated on.
        prompt_ids: of its prompts; None where they are not known.
        more: prompts outside it that fit the entry model too.
    """
    rows = np.flatnonzero([ids is not None for ids in prompt_ids])
    known_ids, pool = [ids for ids in prompt_ids if ids is not None], pool.take(rows)
    model = fit_on_pool(
        pool,
        known_ids,
        cascade.settings.tier_cost,
        tiers=cascade.settings.tier_names,
        vocabulary=vocabulary_fingerprint(vocabulary),
        vocabulary_size=len(vocabulary),
        more=more,
    )
    if model is None:
        yield f"no entry model: {len(known_ids)} prompts have token ids, too few to fit one"
        return
    path = folder / "entry.json"
    save_entry_model(model, path)
    yield f"routing: entry_model: {path}"
    report = model.report
    skipped = ", ".join(f"{name} by {report[f'skipped_{name}']:.1%}" for name in model.tiers[:-1])
    yield f"routing: entry: predicted: of the prompts held out, {skipped} would be skipped"
    held_out = np.flatnonzero(parts_of(pool) == "certify")
    served = cascade.replay(pool.take(held_out)).serve(cascade.thresholds)
    right_N = pool.tiers[0].right_N[held_out]
    commit = commit_at_once(model, [known_ids[row] for row in held_out], right_N, served.right_N)
    if commit is not None:
        yield (
            f"routing: commit_at_once: {commit.chance:g}: {commit.share:.1%} of the prompts held "
            f"out, of which {commit.loss:.2%} lose a right answer"
        )
