"""Everything a calibration says of itself, as one value that `report.json` holds.

Shape legend: N prompts, T tiers.
"""

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from cascadia_sglang.arrays import BoolArray, FloatArray
from cascadia_sglang.calibration.fit.calibrate import CalibratedCascade
from cascadia_sglang.calibration.fit.feature_summary import summarise_features
from cascadia_sglang.calibration.fit.split import PARTS, Parts
from cascadia_sglang.calibration.fit.thresholds import Target, ThresholdResult, outcome_of
from cascadia_sglang.calibration.record.pool import Pool, TierAnswers
from cascadia_sglang.calibration.report.probes import probes_as_builtins
from cascadia_sglang.calibration.report.quality import (
    GroupQuality,
    TierQuality,
    out_of_group,
    tier_qualities,
)
from cascadia_sglang.calibration.report.sensitivity import WeakerJudge, weaker_judges
from cascadia_sglang.calibration.report.verdict import verdict
from cascadia_sglang.judge.calibration import SCORE_DIGITS, Calibration
from cascadia_sglang.judge.watch.agreement import Agreement

_QUANTILES = np.linspace(0.0, 1.0, 101)
_CURVE = 41  # points


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a calibration is worth.

    Attributes:
        label: how answers were labelled.
        prompts: of each part.
        repeats: prompts that are equal to another one of the same part, the first not counted.
        curve: one threshold for all tiers, from accepting all to none, on the certifying part.
    """

    label: str
    prompts: dict[str, int]
    repeats: dict[str, int]
    cascade: CalibratedCascade
    tiers: list[TierQuality]
    groups: list[GroupQuality]
    weaker: list[WeakerJudge]
    curve: list[ThresholdResult]

    def to_builtins(self) -> dict[str, Any]:
        """Plain values for JSON: a number that is not finite becomes null."""
        cascade = self.cascade
        plain = {
            "version": 1,
            "label": self.label,
            "prompts": self.prompts,
            "repeats": self.repeats,
            "split": "BLAKE2b of the prompt's key, 8 bytes, big-endian, modulo 3: "
            + ", ".join(PARTS),
            "settings": dataclasses.asdict(cascade.settings),
            "thresholds": list(cascade.thresholds),
            "chosen": dataclasses.asdict(cascade.chosen),
            "held_out": dataclasses.asdict(cascade.held_out),
            "certificate": dataclasses.asdict(cascade.certificate),
            "verdict": dataclasses.asdict(verdict(cascade)),
            "tiers": [dataclasses.asdict(tier) for tier in self.tiers],
            "probes": probes_as_builtins(cascade),
            "out_of_group": [dataclasses.asdict(group) for group in self.groups],
            "weaker_judges": [dataclasses.asdict(weaker) for weaker in self.weaker],
            "curve": [dataclasses.asdict(point) for point in self.curve],
        }
        finite: dict[str, Any] = _finite(plain)
        return finite


def examine(cascade: CalibratedCascade, parts: Parts, label: str) -> Report:
    """Measure everything."""
    return Report(
        label=label,
        prompts={name: len(getattr(parts, name)) for name in PARTS},
        repeats={name: getattr(parts, name).repeats for name in PARTS},
        cascade=cascade,
        tiers=tier_qualities(cascade, parts),
        groups=out_of_group(cascade, parts),
        weaker=weaker_judges(cascade, parts),
        curve=_curve(cascade, parts),
    )


def _curve(cascade: CalibratedCascade, parts: Parts) -> list[ThresholdResult]:
    replay, cost = cascade.replay(parts.certify), cascade.settings.tier_cost
    count = len(cascade.thresholds)
    if not count:
        return []
    levels = 1 / (1 + np.exp(-np.linspace(-6, 6, _CURVE)))
    rows = [(float(level),) * count for level in (0.0, *levels.round(4), 1.0)]
    return [outcome_of(replay.serve(thresholds), thresholds, cost) for thresholds in rows]


def reported_calibrations(report: Report, parts: Parts) -> dict[str, Calibration]:
    """By tier name, the files' contents: models, what was measured of them, and the quantiles of
    the scores of what fitted none of them."""
    cascade = report.cascade
    unfitted = Pool.concatenated([parts.choose, parts.certify])
    served = cascade.replay(unfitted).serve(cascade.thresholds)
    scores = cascade.scores(unfitted, served)
    ended = [*served.ended_NT.T, np.zeros(len(unfitted), dtype=bool)]
    by_name = {}
    for index, (calibration, score_N) in enumerate(zip(cascade.calibrations, scores, strict=True)):
        finished_N = served.reached_NT[:, index] & ~ended[index] & np.isfinite(score_N)
        name = cascade.settings.tier_names[index]
        by_name[name] = msgspec.structs.replace(
            calibration,
            score_quantiles=score_quantiles(score_N[finished_N]),
            report=_numbers(report, index),
            quantile_samples=int(finished_N.sum()),
            feature_summary=summarise_features(unfitted.tiers[index].features_NF[finished_N]),
            agreement=_agreement(unfitted.tiers[index], served.answered_by_N == index),
            **cascade.settings.source(index),
        )
    return by_name


def _agreement(answers: TierAnswers, accepted_N: BoolArray) -> Agreement | None:
    """Of accepted answers with the last tier's."""
    if answers.same_N is None:
        return None
    same_N = answers.same_N[accepted_N]
    return Agreement(agreed=int(same_N.sum()), answers=len(same_N))


def score_quantiles(score_N: FloatArray) -> list[float]:
    """Of scores, at 101 evenly spaced probabilities; the whole range where there is none."""
    if not len(score_N):
        return [0.0, 1.0]
    quantiles: list[float] = np.quantile(score_N, _QUANTILES).round(SCORE_DIGITS).tolist()
    return quantiles


def _numbers(report: Report, index: int) -> dict[str, float]:
    """What a tier's calibration file says of itself, on the certifying part."""
    tier, cascade = report.tiers[index], report.cascade
    numbers: dict[str, float] = {
        "held_out": report.prompts["certify"],
        "reached": tier.reached,
        "accuracy_reached": tier.accuracy,
    }
    for name, measured in tier.by.items():
        suffix = "reached" if name == "score" else f"reached_of_{name}"
        numbers |= {f"{metric}_{suffix}": interval.value for metric, interval in measured.items()}
    if tier.prefix_ece is not None:
        numbers["prefix_ece"] = tier.prefix_ece
    if index < len(cascade.thresholds):
        bound = cascade.certificate.risks[index]
        numbers |= {"threshold": cascade.thresholds[index], "accepted": bound.accepted}
        numbers |= {"accepted_wrong": bound.wrong}
        if bound.risk_high is not None:
            numbers["accepted_risk_high"] = bound.risk_high
    return {key: round(float(value), 6) for key, value in numbers.items() if math.isfinite(value)}


def save_json(report: Report, path: Path) -> None:
    """Write `report.json`."""
    path.write_text(json.dumps(report.to_builtins(), indent=1, allow_nan=False) + "\n")


def target_text(target: Target) -> str:
    """A target in words."""
    words = {
        "quality": f"the cheapest with a quality of at least {target.value:g}",
        "loss": "the cheapest whose quality is, with 95 % confidence on the choosing part, at most "
        f"{target.value:g} below the last tier's",
        "escalation_rate": f"the best with at most {target.value:g} of the prompts at the last "
        "tier",
        "cost": f"the best with a mean cost of at most {target.value:g}",
    }
    shown = ", those first that the certifying part is expected to show"
    is_promise = target.kind in ("quality", "loss")
    return words[target.kind] + (shown if target.prefers_shown and is_promise else "")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(inner) for inner in value]
    return value
