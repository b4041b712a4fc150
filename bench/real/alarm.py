"""Does the drift alarm ring where a kind of question is new, and stay silent where none is?

A stream has 200 recorded answers. In domain, every stream has a calibration of its own, fitted on
the answers that the stream does not hold: a fixed part of few answers would repeat its own chance
difference in every stream. Out of domain, the calibration is fitted on all kinds but one, and the
streams are drawn from that one.

Example:
    python -m bench.real.alarm   # writes bench/results/real_alarm.csv

Shape legend: N answers, S streams.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import msgspec
import numpy as np

from bench import RESULTS
from bench.harness.estimates import Estimate
from bench.harness.rows import CaseRows, facts_of_this_run, save_rows
from bench.real.answers import load_answers
from bench.real.judge_quality import model_names
from bench.real.recorded_pool import recorded_pool, recorded_questions
from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.calibration.fit.feature_summary import summarise_features
from cascadia_sglang.calibration.fit.replay import TierReplay, sigmoid
from cascadia_sglang.calibration.fit.scores import fit_tier
from cascadia_sglang.calibration.record.pool import TierAnswers
from cascadia_sglang.calibration.report.report import score_quantiles
from cascadia_sglang.judge.calibration import Calibration
from cascadia_sglang.router.feedback.calibration_drift import TierWatch

BENCH = "real.alarm"
STREAMS, LENGTH = 200, 200
SETS = ("short", "reasoning")


def scores_of(calibration: Calibration, answers: TierAnswers) -> FloatArray:
    """The calibrated scores, [N]."""
    nothing_N0 = np.empty((len(answers.right_N), 0))
    return sigmoid(TierReplay(calibration, answers, None).log_odds(nothing_N0))


def calibrated(fitted: TierAnswers, unfitted: TierAnswers) -> Calibration:
    """A calibration whose quantiles and summary are of answers that did not fit it."""
    calibration = fit_tier(fitted, np.empty((len(fitted.right_N), 0)))
    return msgspec.structs.replace(
        calibration,
        score_quantiles=score_quantiles(scores_of(calibration, unfitted)),
        quantile_samples=len(unfitted.right_N),
        feature_summary=summarise_features(unfitted.features_NF),
    )


def rings(calibration: Calibration, answers: TierAnswers) -> tuple[bool, bool]:
    """Of one stream: whether an alarm rings, and whether that of the scores does."""
    watch = TierWatch(calibration)
    for score, features_F in zip(
        scores_of(calibration, answers).tolist(), answers.features_NF.tolist(), strict=True
    ):
        watch.add(score, features_F)
    drift = watch.scores.drift()
    return watch.is_alarm, drift is not None and drift.is_alarm


def known_streams(answers: TierAnswers) -> Iterator[tuple[bool, bool]]:
    """Alarms of streams of the kinds that were fitted, [S]."""
    rng = np.random.default_rng(0)
    for _ in range(STREAMS):
        order = rng.permutation(len(answers.right_N))
        measured, fitted, unfitted = order[:LENGTH], order[LENGTH::2], order[LENGTH + 1 :: 2]
        calibration = calibrated(answers.take(fitted), answers.take(unfitted))
        yield rings(calibration, answers.take(measured))


def new_streams(
    known_kinds: TierAnswers, new_kind: TierAnswers, seed: int
) -> Iterator[tuple[bool, bool]]:
    """Alarms of streams of a kind that was not fitted, [S]."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(known_kinds.right_N))
    calibration = calibrated(known_kinds.take(order[::2]), known_kinds.take(order[1::2]))
    for _ in range(STREAMS):
        yield rings(calibration, new_kind.take(rng.integers(len(new_kind.right_N), size=LENGTH)))


def main() -> None:
    """Draw the streams and write the rows."""
    models = model_names("The drift alarm on recorded answers.")
    facts = facts_of_this_run(f"bench.{BENCH}")
    rows = []
    stored = load_answers()
    for model in models:
        recorded = recorded_questions(stored, [model])
        for name in SETS:
            questions = [question for question in recorded if question.set == name]
            if not questions:
                continue
            [answers] = recorded_pool(questions, stored, [model]).tiers
            # Nothing here asks for a chance on the way.
            answers = dataclasses.replace(answers, prefix_NF={})
            kind_N = np.array([question.kind for question in questions])
            streams = {"in domain": list(known_streams(answers))}
            for seed, kind in enumerate(sorted(set(kind_N))):
                known_kinds = answers.take(np.flatnonzero(kind_N != kind))
                new = answers.take(np.flatnonzero(kind_N == kind))
                streams[f"new: {kind}"] = list(new_streams(known_kinds, new, seed))
            case_rows = CaseRows(facts, BENCH, f"{model}, {name}, {STREAMS} streams of {LENGTH}")
            for case, alarms in streams.items():
                both, scores_alone = np.mean(alarms, axis=0).tolist()
                case_rows.add(case, "rings", "1", Estimate(p50=both, n=STREAMS))
                case_rows.add(case, "scores_alone_ring", "1", Estimate(p50=scores_alone, n=STREAMS))
            rows += case_rows.rows
    save_rows(RESULTS / "real_alarm.csv", rows)


if __name__ == "__main__":
    main()
