"""The page of `bench.entry.routing`, from its rows."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from bench.entry.published import PAPER, PUBLISHED, REQUESTS_PER_S
from bench.entry.sets import RoutingSet

Values = dict[str, str]  # of a row, by column

_HEAD = ["| router | APGR | CPT(50 %) | CPT(80 %) |", "|---|---|---|---|"]
_METRICS = ("apgr", "cpt50", "cpt80")


def report(path: Path, sets: Sequence[RoutingSet]) -> str:
    """Markdown: a table a case, RouteLLM's beside it, and where the numbers come from.

    Args:
        path: of the rows.
        sets: that they are about.
    """
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] in (*_METRICS, "routing_time")]
    lines = [
        "# The entry model on RouteLLM's evaluation sets",
        "",
        "Mixtral-8x7B is the weak model, gpt-4-1106-preview the strong one. APGR: mean share of "
        "the gap between them that is recovered, over the share of strong calls (0.5 at random). "
        "CPT: share of strong calls that recovers half, or four fifths, of the gap. `entry model` "
        "ranks prompts by the weak model's chance alone, as a cascade uses it; `both chances` by "
        "how much greater the strong model's is. The encoder is a transformer of two layers, "
        "trained from scratch on the same prompts. All see the tokens of a byte-level BPE that was "
        "trained on the prompts of the fit.",
        "",
        *(_about(routing_set) for routing_set in sets),
        "",
        "Half to half: means over random halves, with a 95 % interval corrected for their overlap "
        "(Nadeau and Bengio 2003). From set to set: fitted once on the whole of the first; "
        "intervals by bootstrap over the prompts of the second.",
        "",
    ]
    for case in dict.fromkeys(row["case"] for row in rows if row["metric"] in _METRICS):
        rows_of_case = [row for row in rows if row["case"] == case]
        lines += [f"## {case}", "", *_HEAD]
        lines += [
            _line(rows_of_case, router)
            for router in dict.fromkeys(row["variant"] for row in rows_of_case)
        ]
        tested = case.partition(",")[0].rpartition(" ")[2]
        lines += [
            f"| RouteLLM, {published.method}, {published.training} | {published.apgr:.3f} "
            f"| {published.cpt50:.3f} | {published.cpt80:.3f} |"
            for published in PUBLISHED
            if published.set_name == tested
        ]
        lines.append("")
    lines += [*_times(rows), "", *_difference()]
    sources = dict.fromkeys(
        f"- `{row['command']}` on {row['machine']}; commit {row['commit']}, {row['date_utc']}."
        for row in rows
    )
    return "\n".join([*lines, *sources, ""])


def _about(routing_set: RoutingSet) -> str:
    weak, strong = routing_set.right_2N.mean(1)
    return (
        f"- `{routing_set.name}`: {len(routing_set.prompts)} prompts; right: weak {weak:.3f}, "
        f"strong {strong:.3f}."
    )


def _line(rows: Sequence[Values], router: str) -> str:
    by_metric = {row["metric"]: row for row in rows if row["variant"] == router}
    cells = [
        "{:.3f} [{:.3f}, {:.3f}]".format(
            *(float(by_metric[metric][column]) for column in ("p50", "low95", "high95"))
        )
        for metric in _METRICS
    ]
    n = by_metric["apgr"]["n"]
    fits = f", {n} halves" if "half" in by_metric["apgr"]["case"] else ""
    return f"| {router}{fits} | {' | '.join(cells)} |"


def _times(rows: Sequence[Values]) -> list[str]:
    lines = [
        "## Time of one prompt",
        "",
        "Median and 80 % quantile on one thread, tokens given, prompts one at a time. The encoder "
        "reads the last 128 tokens of a prompt, the entry model the last 2,048.",
        "",
        "| prompt | router | microseconds | 80 % |",
        "|---|---|---|---|",
    ]
    for row in rows:
        if row["metric"] == "routing_time":
            times = f"{float(row['p50']):.0f} | {float(row['p80']):.0f}"
            lines.append(f"| {row['case']} | {row['variant']} | {times} |")
    published = ", ".join(f"{name} {rate}" for name, rate in REQUESTS_PER_S.items())
    return [*lines, "", f"RouteLLM's published rates, requests per second: {published}."]


def _difference() -> list[str]:
    return [
        "## What differs from RouteLLM's numbers",
        "",
        f"RouteLLM's are from {PAPER}, tables 2, 3 and 7. Its routers were trained on 65,000 votes "
        "of Chatbot Arena between many models (`arena`), with 1,500 questions of MMLU's validation "
        "split answered by these two models (`gold`) or 120,000 comparisons of answers to other "
        "questions by a GPT-4 judge (`judge`) added. The entry model and the encoder are fitted on "
        "right and wrong answers of these two models alone: to half of the same set, or to the "
        "other set. RouteLLM tests whole sets, this bench random halves of a random half of them. "
        "So the half-to-half tables show what an operator's own labelled sample is worth; they are "
        "no comparison of methods on equal data.",
        "",
    ]
