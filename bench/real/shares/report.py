"""Rows and page of `bench.real.share`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.harness.estimates import Estimate, mean
from bench.harness.rows import Facts, Row, make_row, source_line
from bench.real.questions import MAX_TOKENS
from bench.real.shares.measures import (
    ASKED,
    LEAST_WAY,
    MIX_TOLERANCE,
    THRESHOLD_TOLERANCE,
    WINDOW,
    WINDOW_TOLERANCE,
    MixMeasures,
)

BENCH = "real.share"


def rows(measures: Sequence[MixMeasures], facts: Facts, case: str) -> list[Row]:
    """A row a number; `case` names the models."""
    return [
        make_row(
            facts, bench=BENCH, case=case, variant=variant, metric=metric, unit="1", value=value
        )
        for mix in measures
        for variant, metric, value in _numbers(mix)
    ]


def _numbers(mix: MixMeasures) -> Iterator[tuple[str, str, Estimate]]:
    """Variant, metric and value."""
    count = len(mix.right_N)
    yield mix.mix, "share_climbed", Estimate(p50=mix.climbed, n=count)
    for window in mix.windows:
        name = f"{mix.mix}, questions from {window.first}"
        yield name, "share_climbed", Estimate(p50=window.climbed, n=WINDOW)
    yield mix.mix, "accuracy_served", mean(mix.right_N.tolist())
    for metric, value in (
        *((f"accuracy_{tier}_alone", value) for tier, value in mix.alone.items()),
        ("accuracy_served_by_records", mix.choice.served),
        ("accuracy_of_best_threshold", mix.choice.threshold),
        ("accuracy_of_random_choice", mix.choice.random),
        ("way_from_random_to_threshold", mix.of_the_way),
        ("way_from_random_to_threshold_by_records", mix.choice.of_the_way),
        ("same_text_as_recorded", mix.same_text),
        ("rank_gap_median", mix.rank_gap),
    ):
        yield mix.mix, metric, Estimate(p50=value, n=count)


def page(measures: Sequence[MixMeasures], facts: Facts, case: str) -> str:
    """Markdown: the shares, the choice, what is missed, where the numbers come from."""
    lines = [
        "# Two real models, two paths and no other flag",
        "",
        f"{case}. The official OpenAI client streams three mixes of {len(measures[0].right_N)} "
        f"questions, one after the other, greedy, at most {MAX_TOKENS} tokens an answer. The share "
        f"asked for is {ASKED:g}, the default. Nothing is calibrated.",
        "",
        "## The share that climbs",
        "",
        f"Allowed: {MIX_TOLERANCE:g} from {ASKED:g} over a mix, {WINDOW_TOLERANCE:g} over {WINDOW} "
        "questions, but the first after a change of mix.",
        "",
        f"| mix | all | each {WINDOW} in order of arrival | kept |",
        "|---|---|---|---|",
        *(_share_line(mix) for mix in measures),
        "",
        "## The choice",
        "",
        "Accuracies. The tiers alone, the best threshold and the random choice come from the "
        "recorded answers of both models to every question; so does the second number of the "
        "served choice, which is free of what differs from run to run. The best threshold is known "
        "in hindsight only: it lets as many climb as were served by the large model, those of the "
        f"lowest rank. Allowed: {THRESHOLD_TOLERANCE:g} below it, and at least {LEAST_WAY:g} of "
        "the way to it from a random choice.",
        "",
        "| mix | small alone | large alone | random choice | served | served, recorded answers "
        "| best threshold | of the way | kept |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_choice_line(mix) for mix in measures),
        "",
        "Answers that the small model gave have the recorded text in "
        f"{', '.join(f'{mix.same_text:.3f}' for mix in measures)} of the cases.",
        "",
        source_line(facts),
        "",
    ]
    return "\n".join(lines)


def _share_line(mix: MixMeasures) -> str:
    windows = ", ".join(
        f"{w.climbed:.3f}{' (after the change)' if w.is_after_change else ''}" for w in mix.windows
    )
    return f"| {mix.mix} | {mix.climbed:.3f} | {windows} | {_yes(mix.is_share_kept)} |"


def _choice_line(mix: MixMeasures) -> str:
    served = mean(mix.right_N.tolist())
    interval = f"{served.p50:.3f} [{served.low95:.3f}, {served.high95:.3f}]"
    numbers = " | ".join(
        (
            *(f"{value:.3f}" for value in mix.alone.values()),
            f"{mix.choice.random:.3f}",
            interval,
            f"{mix.choice.served:.3f}",
            f"{mix.choice.threshold:.3f}",
            f"{mix.of_the_way:.2f}",
        )
    )
    return f"| {mix.mix} | {numbers} | {_yes(mix.is_chosen_well)} |"


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"
