"""Does the drift alarm ring where a kind of question is new, and stay silent where none is?

Streams of 200 answers are drawn from the recorded ones. In domain, the calibration is fitted on
the parts `fit` and `choose`, and the stream is drawn from `certify`. Out of domain, the
calibration is fitted on all kinds but one, and the stream is drawn from that one.

Example:
    python -m bench.real.alarm   # writes bench/results/real_alarm.csv

Shape legend: N answers, S streams.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from bench import RESULTS
from bench.harness.estimates import Estimate
from bench.harness.rows import Told, facts_of_this_run, save_rows
from bench.real.answers import load_answers
from bench.real.judge_quality import FITTED_PARTS, model_names
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


def rings(calibration: Calibration, answers: TierAnswers, seed: int) -> Iterator[tuple[bool, bool]]:
    """Of every stream: whether an alarm rings, and whether that of the scores does."""
    rng = np.random.default_rng(seed)
    score_N = scores_of(calibration, answers)
    for _ in range(STREAMS):
        watch = TierWatch(calibration)
        for row in rng.integers(len(score_N), size=LENGTH):
            watch.add(float(score_N[row]), answers.features_NF[row].tolist())
        drift = watch.scores.drift()
        yield watch.is_alarm, drift is not None and drift.is_alarm


def halves(answers: TierAnswers, seed: int) -> tuple[TierAnswers, TierAnswers]:
    """Answers that fit the score, and others."""
    order = np.random.default_rng(seed).permutation(len(answers.right_N))
    return answers.take(order[::2]), answers.take(order[1::2])


def main() -> None:
    """Draw the streams and write the rows."""
    models = model_names("The drift alarm on recorded answers.")
    facts = facts_of_this_run(f"bench.{BENCH}")
    rows = []
    stored = load_answers()
    for model in models:
        recorded = recorded_questions(stored, [model])
        for name in SETS:
            asked = [question for question in recorded if question.set == name]
            if not asked:
                continue
            [answers] = recorded_pool(asked, stored, [model]).tiers
            kind_N = np.array([question.kind for question in asked])
            is_fit_N = np.isin([question.part for question in asked], FITTED_PARTS)
            is_certify_N = np.array([question.part == "certify" for question in asked])
            cases = [("in domain", is_fit_N, is_certify_N)]
            kinds = sorted(set(kind_N))
            cases += [(f"new: {kind}", kind_N != kind, kind_N == kind) for kind in kinds]
            told = Told(facts, BENCH, f"{model}, {name}, {STREAMS} streams of {LENGTH}")
            for seed, (case, is_known_N, is_asked_N) in enumerate(cases):
                known = answers.take(np.flatnonzero(is_known_N))
                calibration = calibrated(*halves(known, seed))
                asked_answers = answers.take(np.flatnonzero(is_asked_N))
                alarms_S2 = np.array(list(rings(calibration, asked_answers, seed)))
                both, scores_alone = alarms_S2.mean(axis=0).tolist()
                told.add(case, "rings", "1", Estimate(p50=both, n=STREAMS))
                told.add(case, "scores_alone_ring", "1", Estimate(p50=scores_alone, n=STREAMS))
            rows += told.rows
    save_rows(RESULTS / "real_alarm.csv", rows)


if __name__ == "__main__":
    main()
