"""How good the judge's score is on real models' answers, beside scores that cost nothing to fit.

Four cases, for each set and model:

- `in domain`: fitted on the parts `fit` and `choose`, measured on `certify`: the same wordings.
- `other wordings`: the same fit, measured on `test`, whose wordings it never saw.
- `kind left out`: for every kind, fitted on the other kinds alone, measured on that kind.
- `across`: fitted on both generated sets, measured on HumanEval.

`bound_by_trees` says what the same features hold at most: gradient-boosted trees, ten-fold.

Example:
    python -m bench.real.judge_quality   # writes bench/results/real_judge.{csv,md}

Shape legend: N answers, F base features.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench import RESULTS
from bench.harness.estimates import Estimate
from bench.harness.ranks import ranks
from bench.harness.rows import (
    CaseRows,
    Facts,
    Row,
    facts_of_this_run,
    make_row,
    save_rows,
    source_line,
)
from bench.real.answers import load_answers
from bench.real.question_sets import Question
from bench.real.recorded_pool import recorded_pool, recorded_questions
from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.calibration.fit.replay import TierReplay, sigmoid
from cascadia_sglang.calibration.fit.scores import fit_tier
from cascadia_sglang.calibration.fit.statistics import Interval, measure
from cascadia_sglang.calibration.record.pool import TierAnswers
from cascadia_sglang.judge.features import FEATURES

BENCH = "real.judge_quality"
MODELS = ("qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b")
FITTED_PARTS = ("fit", "choose")
_FOLDS = 10
# A metric of a share needs a probability; the others only order answers.
_ORDERS = ("auroc", "accuracy_rejection_area")

Score = Callable[[TierAnswers], FloatArray]


def column(name: str) -> Score:
    """A feature as a score."""
    index = FEATURES.index(name)
    return lambda answers: answers.features_NF[:, index]


# Nothing of these is fitted.
PLAIN: dict[str, Score] = {
    "built-in rank": lambda answers: ranks(answers.features_NF),
    "mean log-probability": column("mean_logprob"),
    "least log-probability": column("min_logprob"),
    "fewest tokens": lambda answers: -answers.features_NF[:, FEATURES.index("log_tokens")],
}


def fitted(answers: TierAnswers) -> Score:
    """The calibrated score of these answers."""
    nothing_N0 = np.empty((len(answers.right_N), 0))
    calibration = fit_tier(answers, nothing_N0)

    def score(others: TierAnswers) -> FloatArray:
        replay = TierReplay(calibration, others, None)
        return sigmoid(replay.log_odds(np.empty((len(others.right_N), 0))))

    return score


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreMeasurement:
    """One score on one group of answers."""

    case: str
    group: str
    model: str
    score: str
    share_right: float
    metrics: dict[str, Interval]


def measured(
    case: str, group: str, model: str, answers: TierAnswers, score: Score
) -> Iterator[ScoreMeasurement]:
    """The calibrated score and the plain ones."""
    right_N = answers.right_N
    for name, function in {"score": score, **PLAIN}.items():
        metrics = measure(function(answers), right_N)
        if name != "score":
            metrics = {metric: metrics[metric] for metric in _ORDERS}
        yield ScoreMeasurement(
            case=case,
            group=group,
            model=model,
            score=name,
            share_right=float(right_N.mean()),
            metrics=metrics,
        )


def compare(
    questions: Sequence[Question], answers: TierAnswers, model: str
) -> Iterator[ScoreMeasurement]:
    """Every case of a model."""
    part_N = np.array([question.part for question in questions])
    set_N = np.array([question.set for question in questions])
    kind_N = np.array([question.kind for question in questions])
    is_fit_N = np.isin(part_N, FITTED_PARTS)
    generated = [name for name in ("short", "reasoning") if name in set_N]
    for name in generated:
        is_own_N = set_N == name
        score = fitted(answers.take(np.flatnonzero(is_own_N & is_fit_N)))
        for case, part in (("in domain", "certify"), ("other wordings", "test")):
            group = answers.take(np.flatnonzero(is_own_N & (part_N == part)))
            yield from measured(case, name, model, group, score)
        for kind in sorted(set(kind_N[is_own_N])):
            is_kind_N = is_own_N & (kind_N == kind)
            others = answers.take(np.flatnonzero(is_own_N & ~is_kind_N))
            of_kind = answers.take(np.flatnonzero(is_kind_N))
            group_name = f"{name}: {kind}"
            yield from measured("kind left out", group_name, model, of_kind, fitted(others))
    if "humaneval" in set_N:
        score = fitted(answers.take(np.flatnonzero(np.isin(set_N, generated))))
        code = answers.take(np.flatnonzero(set_N == "humaneval"))
        yield from measured("across", "humaneval", model, code, score)


def bound_by_trees(answers: TierAnswers) -> Estimate:
    """AUROC of gradient-boosted trees on the judge's features, each answer left out of its fit."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    features_NF, right_N = answers.features_NF, answers.right_N
    fold_N = np.random.default_rng(0).integers(_FOLDS, size=len(right_N))
    chance_N = np.zeros(len(right_N))
    for fold in range(_FOLDS):
        is_out_N = fold_N == fold
        trees = HistGradientBoostingClassifier(max_depth=3, learning_rate=0.05, max_iter=150)
        trees.fit(features_NF[~is_out_N], right_N[~is_out_N])
        chance_N[is_out_N] = trees.predict_proba(features_NF[is_out_N])[:, 1]
    area = measure(chance_N, right_N)["auroc"]
    return Estimate(p50=area.value, low95=area.low, high95=area.high, n=area.n)


def rows_of(results: Sequence[ScoreMeasurement], facts: Facts) -> list[Row]:
    """A row for every metric."""
    return [
        make_row(
            facts,
            bench=BENCH,
            case=f"{result.model}, {result.case}, {result.group}",
            variant=result.score,
            metric=metric,
            unit="1",
            value=Estimate(
                p50=interval.value, low95=interval.low, high95=interval.high, n=interval.n
            ),
        )
        for result in results
        for metric, interval in result.metrics.items()
    ]


def page(results: Sequence[ScoreMeasurement], facts: Facts) -> str:
    """Markdown: a table of every model, a line for every group."""
    lines = ["# The judge's score on real models' answers", ""]
    for model in dict.fromkeys(result.model for result in results):
        lines += [
            f"## {model}",
            "",
            "| case | answers | n | right | AUROC of the score | ECE | Brier | AUROC of the rank "
            "| mean log-probability | least log-probability | fewest tokens |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        groups: dict[tuple[str, str], dict[str, ScoreMeasurement]] = {}
        for result in results:
            if result.model == model:
                groups.setdefault((result.case, result.group), {})[result.score] = result
        lines += [_line(case, group, scores) for (case, group), scores in groups.items()]
        lines.append("")
    return "\n".join([*lines, source_line(facts), ""])


def _line(case: str, group: str, scores: Mapping[str, ScoreMeasurement]) -> str:
    score = scores["score"]
    area = score.metrics["auroc"]
    plain = " | ".join(f"{scores[name].metrics['auroc'].value:.3f}" for name in PLAIN)
    return (
        f"| {case} | {group} | {area.n} | {score.share_right:.2f} "
        f"| {area.value:.3f} [{area.low:.3f}, {area.high:.3f}] "
        f"| {score.metrics['ece'].value:.3f} | {score.metrics['brier'].value:.3f} | {plain} |"
    )


def model_names(description: str) -> list[str]:
    """The recorded models that a command line names, smallest first."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="names of their folders")
    names: list[str] = parser.parse_args().models
    return names


def main() -> None:
    """Measure, print, and write."""
    models = model_names("The judge's score on recorded answers.")
    facts = facts_of_this_run(f"bench.{BENCH}")
    stored = load_answers()
    results: list[ScoreMeasurement] = []
    told_rows: list[Row] = []
    for model in models:
        # Nobody knows which free answers are right.
        questions = [q for q in recorded_questions(stored, [model]) if q.set != "free"]
        [answers] = recorded_pool(questions, stored, [model]).tiers
        results += compare(questions, answers, model)
        set_N = np.array([question.set for question in questions])
        for name in dict.fromkeys(set_N):
            case_rows = CaseRows(facts, BENCH, f"{model}, ten-fold, {name}")
            of_set = answers.take(np.flatnonzero(set_N == name))
            case_rows.add("gradient-boosted trees", "auroc", "1", bound_by_trees(of_set))
            told_rows += case_rows.rows
    text = page(results, facts)
    print(text)
    rows = rows_of(results, facts) + told_rows
    save_rows(RESULTS / "real_judge.csv", rows)
    (RESULTS / "real_judge.md").write_text(text)


if __name__ == "__main__":
    main()
