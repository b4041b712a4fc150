"""What share of answers must climb, by doubt and by expected gain, on real models' answers.

A rule orders the smaller tier's answers. They climb in this order until the accuracy is within one
point of the larger tier's, or within five. Fewer climbs are better. Cases of every set, and of all:

- `same wordings`: each of five folds is ranked by rules that the others fitted, then all together.
- `other wordings`: fitted on all parts but `test`, measured on `test`.
- `kind left out`: every kind is ranked by a rule that was fitted on the others; then all together.
- `learning`: fitted on a part of the questions, measured on `test`.

A second table says what a request costs at equal accuracy: `bench.real.climbs.costs`.

Example:
    python -m bench.real.gain   # writes bench/results/real_gain.{csv,md}

Shape legend: N answers.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from bench import RESULTS
from bench.harness.estimates import Estimate
from bench.harness.rows import Facts, Row, facts_of_this_run, make_row, save_rows, source_line
from bench.real.answers import StoredAnswer, load_answers
from bench.real.climbs.costs import joined_outcomes, outcomes
from bench.real.climbs.measures import MARGINS, Measurement, measure, measure_costs
from bench.real.climbs.ranks import RANKS, AnsweredQuestions, answered, case_of
from bench.real.judge_quality import model_names
from bench.real.recorded_pool import recorded_pool, recorded_questions

BENCH = "real.gain"
# A larger tier that costs as much more as 10 times the parameters would; nobody measured it.
ASSUMED_COST = 10.0
LEARNED = ("score", "gain by features", "gain by features and n-grams")
LEARNING_SIZES = (200, 400, 800)
_FOLDS = 5
_SEED = 0


def compare(
    name: str,
    answers: AnsweredQuestions,
    part_N: npt.NDArray[np.str_],
    large_costs: Sequence[float],
) -> Iterator[Measurement]:
    """Every case of a set.

    Args:
        large_costs: of an attempt of the larger tier, in attempts of the smaller one.
    """
    is_test_N = part_N == "test"
    test, fitting = np.flatnonzero(is_test_N), np.flatnonzero(~is_test_N)
    fold_N = np.random.default_rng(_SEED).integers(_FOLDS, size=len(part_N))
    groups = {
        "same wordings": [np.flatnonzero(fold_N == fold) for fold in range(_FOLDS)],
        "other wordings": [test],
        "kind left out": [
            np.flatnonzero(answers.kind_N == kind) for kind in sorted(set(answers.kind_N))
        ],
    }
    for case, parts in groups.items():
        # Each part is ranked by what all the others fitted.
        fits = [
            case_of(answers.take(np.setdiff1d(np.arange(len(part_N)), rows)), answers.take(rows))
            for rows in parts
        ]
        ranked = answers.take(np.concatenate(parts))
        ranks = {rule: np.concatenate([rank(fit) for fit in fits]) for rule, rank in RANKS.items()}
        yield from measure(case, name, ranks, ranked.small_N, ranked.large_N)
        for cost in large_costs:
            systems = joined_outcomes([outcomes(fit, cost) for fit in fits])
            yield from measure_costs(case, f"{name}, cost {cost:.2f}", systems, ranked.large_N)
    order = np.random.default_rng(_SEED).permutation(fitting)
    for size in [size for size in LEARNING_SIZES if size < len(order)]:
        fit = case_of(answers.take(np.sort(order[:size])), answers.take(test))
        ranks = {rule: RANKS[rule](fit) for rule in LEARNED}
        small_N, large_N = fit.others.small_N, fit.others.large_N
        yield from measure("learning", f"{name}, {size}", ranks, small_N, large_N)


def rows_of(results: Sequence[Measurement], facts: Facts) -> list[Row]:
    """A row for every value and ratio."""
    return [
        make_row(
            facts,
            bench=BENCH,
            case=f"{result.case}, {result.group}",
            variant=result.rule,
            metric=f"{metric}, {_within(margin)}",
            unit="1",
            value=value,
        )
        for result in results
        for metric, values in (
            (result.metric, result.value),
            *((f"{result.metric} over {name}", ratio) for name, ratio in result.ratios.items()),
        )
        for margin, value in zip(MARGINS, values, strict=True)
    ]


def page(results: Sequence[Measurement], heads: Mapping[str, str], facts: Facts) -> str:
    """Markdown: a table of every case and group."""
    lines = ["# What share of real answers must climb, and what that costs", ""]
    lines += [f"- {name}: {head}" for name, head in heads.items()]
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for result in results:
        groups.setdefault((result.case, result.group), []).append(result)
    for (case, group), measurements in groups.items():
        names = [
            name
            for margin in MARGINS
            for name in (_within(margin), *(f"over {base}" for base in measurements[0].ratios))
        ]
        lines += ["", f"## {case}, {group}", "", f"| rule | {' | '.join(names)} |"]
        lines.append("|---" * (len(names) + 1) + "|")
        for result in measurements:
            cells = [
                _cell(values[index])
                for index in range(len(MARGINS))
                for values in (result.value, *result.ratios.values())
            ]
            lines.append(f"| {result.rule} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", source_line(facts), ""])


def _within(margin: float) -> str:
    points = round(100 * margin)
    return f"within {points} point{'s' if points > 1 else ''}"


def _cell(value: Estimate) -> str:
    return f"{value.p50:.3f} [{value.low95:.3f}, {value.high95:.3f}]"


def _head(answers: AnsweredQuestions) -> str:
    small_N, large_N = answers.small_N, answers.large_N
    return (
        f"{len(small_N)} questions: the smaller tier is right on {small_N.mean():.3f}, the larger "
        f"on {large_N.mean():.3f}; the larger alone on {(large_N & ~small_N).mean():.3f}, the "
        f"smaller alone on {(small_N & ~large_N).mean():.3f}."
    )


def _large_cost(
    stored: Sequence[StoredAnswer], models: Sequence[str], ids: Container[str]
) -> float:
    """Mean recorded seconds of the larger model's answers over those of the smaller one's."""
    seconds = [
        np.mean([answer.seconds for answer in stored if answer.model == model and answer.id in ids])
        for model in models
    ]
    return float(seconds[1] / seconds[0])


def main() -> None:
    """Rank, print, and write."""
    models = model_names("Which answers of the smaller model should climb. Name two models.")
    facts = facts_of_this_run(f"bench.{BENCH}")
    stored = load_answers()
    questions = [q for q in recorded_questions(stored, models) if q.set != "free"]
    whole = answered(questions, recorded_pool(questions, stored, models))
    set_N = np.array([question.set for question in questions])
    part_N = np.array([question.part for question in questions])
    names = [name for name in ("short", "reasoning") if name in set_N]
    groups = {name: np.flatnonzero(set_N == name) for name in names}
    if len(set(set_N)) > 1:
        groups["all sets"] = np.arange(len(questions))
    results: list[Measurement] = []
    heads = {}
    for name, rows in groups.items():
        answers = whole.take(rows)
        ids = {questions[row].id for row in rows}
        heads[name] = _head(answers)
        results += compare(
            name, answers, part_N[rows], (_large_cost(stored, models, ids), ASSUMED_COST)
        )
    text = page(results, heads, facts)
    print(text)
    save_rows(RESULTS / "real_gain.csv", rows_of(results, facts))
    (RESULTS / "real_gain.md").write_text(text)


if __name__ == "__main__":
    main()
