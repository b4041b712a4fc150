"""What a probe of the hidden state adds to the judge's score on real answers.

The cases are those of `bench.real.judge_quality`. Both scores are fitted on the same answers.
Differences are paired: every resample of the answers measures both.

Example:
    python -m bench.real.hidden --small PATH
    python -m bench.real.probe --models NAME   # adds to bench/results/real_judge.csv

A set whose hidden states were not read has no rows.

Shape legend: N answers, H hidden size.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import numpy as np

from bench import RESULTS
from bench.harness.paired import paired
from bench.harness.rows import CaseRows, Facts, Row, facts_of_this_run, save_rows
from bench.real.answers import StoredAnswer, load_answers
from bench.real.hidden import hidden_file, load_hidden
from bench.real.judge_quality import FITTED_PARTS, model_names
from bench.real.question_sets import Question
from bench.real.recorded_pool import recorded_pool, recorded_questions
from cascadia_sglang.arrays import BoolArray, FloatArray
from cascadia_sglang.calibration.fit.probe import with_probe
from cascadia_sglang.calibration.fit.replay import sigmoid
from cascadia_sglang.calibration.fit.scores import fit_tier
from cascadia_sglang.calibration.fit.statistics import METRICS, RESAMPLES
from cascadia_sglang.calibration.record.pool import TierAnswers
from cascadia_sglang.judge.calibration import Calibration
from cascadia_sglang.judge.probe import probe_log_odds

BENCH = "real.probe"
SETS = ("short", "reasoning")
METRICS_TOLD = ("auroc", "ece", "brier")

Case = tuple[str, BoolArray, BoolArray]


def cases(questions: Sequence[Question]) -> Iterator[Case]:
    """Name, answers that are fitted, answers that are measured, [N] each."""
    part_N = np.array([question.part for question in questions])
    kind_N = np.array([question.kind for question in questions])
    is_fit_N = np.isin(part_N, FITTED_PARTS)
    yield "in domain", is_fit_N, part_N == "certify"
    yield "other wordings", is_fit_N, part_N == "test"
    for kind in sorted(set(kind_N)):
        yield f"kind left out: {kind}", kind_N != kind, kind_N == kind


def score_of(
    calibration: Calibration, features_NF: FloatArray, hidden_NH: FloatArray
) -> FloatArray:
    """The calibrated score of each answer, [N]."""
    standard_NF = (features_NF - np.array(calibration.mean)) / np.array(calibration.scale)
    odds_N = standard_NF @ np.array(calibration.weights) + calibration.bias
    if calibration.probe is not None:
        parameters = calibration.probe.unpacked()
        odds_N = odds_N + calibration.probe.weight * probe_log_odds(hidden_NH, parameters)
    return sigmoid(odds_N)


def scores(
    answers: TierAnswers, hidden_NH: FloatArray, fitted_N: BoolArray, measured_N: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Of the measured answers: by the logits' features, and with the probe beside them."""
    fitted = answers.take(np.flatnonzero(fitted_N))
    logits = fit_tier(fitted, np.empty((len(fitted.right_N), 0)))
    both = with_probe(logits, fitted.features_NF, hidden_NH[fitted_N], fitted.right_N)
    features_NF, asked_NH = answers.features_NF[measured_N], hidden_NH[measured_N]
    return score_of(logits, features_NF, asked_NH), score_of(both, features_NF, asked_NH)


def rows_of_set(
    model: str,
    name: str,
    questions: Sequence[Question],
    stored: Sequence[StoredAnswer],
    facts: Facts,
) -> list[Row]:
    """Every case and metric of a set."""
    [answers] = recorded_pool(questions, stored, [model]).tiers
    hidden_NH = load_hidden(model, questions)
    rows: list[Row] = []
    for case, fitted_N, measured_N in cases(questions):
        case_rows = CaseRows(facts, BENCH, f"{model}, {name}, {case}")
        logits_N, both_N = scores(answers, hidden_NH, fitted_N, measured_N)
        for metric in METRICS_TOLD:
            right_N = answers.right_N[measured_N]
            both = paired(METRICS[metric], logits_N, both_N, right_N, RESAMPLES)
            case_rows.add("logits", metric, "1", both.before)
            case_rows.add("with the probe", metric, "1", both.after)
            case_rows.add("gain of the probe", metric, "1", both.gain)
        rows += case_rows.rows
    return rows


def sets_with_states(model: str, recorded: Sequence[Question]) -> dict[str, list[Question]]:
    """The questions of each set whose hidden states were read; a line names each other set."""
    by_set = {}
    for name in SETS:
        questions = [question for question in recorded if question.set == name]
        path = hidden_file(model, name)
        if questions and path.exists():
            by_set[name] = questions
        elif questions:
            print(f"{model}, {name}: no rows, for {path} is missing", file=sys.stderr)
    return by_set


def main() -> None:
    """Measure every case of every set and model."""
    models = model_names("A probe of hidden states beside the judge's features.")
    facts = facts_of_this_run(f"bench.{BENCH}")
    stored = load_answers()
    rows = []
    for model in models:
        for name, questions in sets_with_states(model, recorded_questions(stored, [model])).items():
            rows += rows_of_set(model, name, questions, stored, facts)
    if not rows:
        raise SystemExit("no hidden states were read: bench.real.hidden reads them")
    save_rows(RESULTS / "real_judge.csv", rows)


if __name__ == "__main__":
    main()
