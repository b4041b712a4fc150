"""The page of `bench.entry.routing`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.entry.published import PAPER, PUBLISHED, REQUESTS_PER_S
from bench.entry.sets import RoutingSet
from bench.harness.estimates import Estimate
from bench.harness.rows import Facts, source_line

Values = Mapping[tuple[str, str], Estimate]

_HEAD = ["| router | APGR | CPT(50 %) | CPT(80 %) |", "|---|---|---|---|"]


def report(sets: Sequence[RoutingSet], found: Mapping[str, Values], facts: Facts) -> str:
    """Markdown: a table a case, RouteLLM's beside it, and where the numbers come from."""
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
        *(_about(one) for one in sets),
        "",
    ]
    for case, values in found.items():
        lines += [f"## {case}", "", _how(case, values), "", *_HEAD]
        routers = dict.fromkeys(router for router, metric in values if metric == "apgr")
        lines += [_line(router, values) for router in routers]
        name = case.split(",")[0] if "half" in case else case.rpartition(" ")[2]
        lines += [
            f"| RouteLLM, {one.method}, {one.training} | {one.apgr:.3f} | {one.cpt50:.3f} "
            f"| {one.cpt80:.3f} |"
            for one in PUBLISHED
            if one.set_name == name
        ]
        lines.append("")
    lines += ["## Time of one prompt", "", *_times(found), "", *_difference(), source_line(facts)]
    return "\n".join([*lines, ""])


def _about(one: RoutingSet) -> str:
    weak, strong = one.right_2N.mean(1)
    return (
        f"- `{one.name}`: {len(one.prompts)} prompts; right: weak {weak:.3f}, strong {strong:.3f}."
    )


def _how(case: str, values: Values) -> str:
    if "half" in case:
        seeds = [values[key].n for key in (("entry model", "apgr"), ("encoder", "apgr"))]
        return (
            f"Means over {seeds[0]} random halves ({seeds[1]} for the encoder), with a 95 % "
            "interval corrected for their overlap (Nadeau and Bengio 2003)."
        )
    return "Fitted once on the whole first set; intervals by bootstrap over the test prompts."


def _line(router: str, values: Values) -> str:
    cells = []
    for metric in ("apgr", "cpt50", "cpt80"):
        value = values[router, metric]
        cells.append(f"{value.p50:.3f} [{value.low95:.3f}, {value.high95:.3f}]")
    return f"| {router} | {' | '.join(cells)} |"


def _times(found: Mapping[str, Values]) -> list[str]:
    lines = [
        "Median and 80 % quantile on one thread, tokens given, prompts one at a time.",
        "",
        "| set | router | microseconds | 80 % |",
        "|---|---|---|---|",
    ]
    for case, values in found.items():
        for (router, metric), value in values.items():
            if metric == "microseconds":
                lines.append(
                    f"| {case.split(',')[0]} | {router} | {value.p50:.0f} | {value.p80:.0f} |"
                )
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
