"""What it saves to end hopeless answers early on real models, and what it ends wrongly.

The calibration is fitted on the parts `fit` and `choose`. Its threshold is the one below which a
stated share of those answers lies, so that share climbs. On the way, an answer is ended at the
first checkpoint where its chance to reach the threshold falls below the setting `early_abort`.

- `ended`: share of all answers;
- `saved`: share of all their tokens that are not written;
- `saved_of_climbs`: the same of the answers that would climb in any case;
- `ended_wrongly`: share of the ended answers whose whole answer reaches the threshold;
- `right_lost`: share of the ended answers that reach it and are right.

Example:
    python -m bench.real.early_aborts   # writes bench/results/real_early_aborts.csv

Shape legend: N answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from bench import RESULTS
from bench.harness.estimates import Estimate, sum_ratio
from bench.harness.rows import CaseRows, facts_of_this_run, save_rows
from bench.real.answers import load_answers
from bench.real.judge_quality import FITTED_PARTS, model_names
from bench.real.recorded_pool import recorded_pool, recorded_questions
from cascadia_sglang.arrays import BoolArray, FloatArray
from cascadia_sglang.calibration.fit.replay import TierReplay, sigmoid
from cascadia_sglang.calibration.fit.scores import fit_tier
from cascadia_sglang.calibration.record.pool import TierAnswers

BENCH = "real.early_aborts"
SETS = ("short", "reasoning")
MEASURED_PARTS = {"same wordings": "certify", "other wordings": "test"}
CLIMB_SHARES = (0.3, 0.5, 0.7)
# `early_abort` is 0.05 unless a cascade file says otherwise.
SETTINGS = (0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endings:
    """What one setting makes of N answers.

    Attributes:
        tokens_N: that each whole answer has.
        written_N: tokens until the answer is ended, or all.
        reaches_N: whether the whole answer's score reaches the threshold.
        right_N: whether the whole answer is right.
    """

    tokens_N: FloatArray
    written_N: FloatArray
    reaches_N: BoolArray
    right_N: BoolArray

    def ended(self) -> BoolArray:
        """Whether each answer is ended early, [N]."""
        is_ended_N: BoolArray = self.written_N < self.tokens_N
        return is_ended_N


def endings(
    replay: TierReplay, answers: TierAnswers, threshold: float, early_abort: float
) -> Endings:
    """Ends each answer at the first checkpoint where its chance falls below `early_abort`.

    Args:
        replay: of these answers.
        threshold: that a score must reach, in (0, 1).
        early_abort: least chance to go on, in (0, 1).
    """
    nothing_N0 = np.empty((len(answers.right_N), 0))
    tokens_N = np.rint(answers.tokens())
    written_N = tokens_N.copy()
    for tokens in sorted(replay.checkpoints, reverse=True):
        # A chance is NaN where the answer had ended by itself.
        is_hopeless_N = replay.chance(tokens, threshold, nothing_N0) < early_abort
        written_N[is_hopeless_N] = tokens
    return Endings(
        tokens_N=tokens_N,
        written_N=written_N,
        reaches_N=sigmoid(replay.log_odds(nothing_N0)) >= threshold,
        right_N=answers.right_N,
    )


def share(chosen_N: BoolArray) -> Estimate:
    """Of the answers that are chosen, with Wilson's interval."""
    test = binomtest(int(chosen_N.sum()), len(chosen_N))
    low, high = test.proportion_ci(method="wilson")
    return Estimate(p50=float(test.statistic), low95=low, high95=high, n=len(chosen_N))


def measures(result: Endings) -> Iterator[tuple[str, Estimate]]:
    """Name and value of every measure; shares of ended answers only where some were ended."""
    ended_N, climbs_N = result.ended(), ~result.reaches_N
    saved_N = result.tokens_N - result.written_N
    yield "ended", share(ended_N)
    yield "saved", sum_ratio(saved_N.tolist(), result.tokens_N.tolist())
    if climbs_N.any():
        yield (
            "saved_of_climbs",
            sum_ratio(saved_N[climbs_N].tolist(), result.tokens_N[climbs_N].tolist()),
        )
    if ended_N.any():
        reaches_n = result.reaches_N[ended_N]
        yield "ended_wrongly", share(reaches_n)
        yield "right_lost", share(reaches_n & result.right_N[ended_N])


def main() -> None:
    """Fit, end, and write the rows."""
    models = model_names("What ending answers early saves on recorded answers.")
    facts = facts_of_this_run(f"bench.{BENCH}")
    stored = load_answers()
    rows = []
    for model in models:
        recorded = recorded_questions(stored, [model])
        for name in SETS:
            questions = [question for question in recorded if question.set == name]
            if not questions:
                continue
            [answers] = recorded_pool(questions, stored, [model]).tiers
            part_N = np.array([question.part for question in questions])
            fitted = answers.take(np.flatnonzero(np.isin(part_N, FITTED_PARTS)))
            nothing_N0 = np.empty((len(fitted.right_N), 0))
            calibration = fit_tier(fitted, nothing_N0)
            score_N = sigmoid(TierReplay(calibration, fitted, None).log_odds(nothing_N0))
            for group, part in MEASURED_PARTS.items():
                measured = answers.take(np.flatnonzero(part_N == part))
                replay = TierReplay(calibration, measured, None)
                for share in CLIMB_SHARES:
                    threshold = float(np.quantile(score_N, share))
                    case = CaseRows(facts, BENCH, f"{model}, {name}, {group}, {share:.0%} climb")
                    for setting in SETTINGS:
                        result = endings(replay, measured, threshold, setting)
                        for metric, value in measures(result):
                            case.add(f"early_abort {setting}", metric, "1", value)
                    rows += case.rows
    save_rows(RESULTS / "real_early_aborts.csv", rows)


if __name__ == "__main__":
    main()
