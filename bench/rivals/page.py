"""What the benches beside it have measured, as pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from bench.harness.estimates import Estimate
from bench.rivals.report import (
    ATTAINED,
    OPEN,
    SERVED,
    closed,
    cpu_s,
    discarded,
    quantiles,
    relations,
    right,
)
from bench.rivals.serving import FIGURES, Figures
from bench.rivals.system import System
from bench.rivals.workloads import MIXED, MIXES


def closed_table(systems: Sequence[System]) -> Iterator[str]:
    """The mixed questions, a line a system."""
    yield f"Closed loop, {closed(MIXED)}:"
    yield ""
    yield (
        "| system | accuracy | requests/s | latency p50, p95, p99 | CPU a request | tokens "
        "discarded | memory |"
    )
    yield "|---|---|---|---|---|---|---|"
    for system in systems:
        rounds = system.rounds[closed(MIXED)]
        p50, p95, p99 = (np.median(quantiles(rounds, share)) for share in (0.5, 0.95, 0.99))
        rate = np.median([played.requests_per_s for played in rounds])
        yield (
            f"| {system.name} | {np.mean(right(rounds)):.3f} | {rate:.1f} | {p50:.0f}, {p95:.0f}, "
            f"{p99:.0f} ms | {1000 * np.median(cpu_s(rounds)):.1f} ms | "
            f"{discarded(rounds).p50:.0%} | {system.memory_gb:.1f} GB |"
        )


def cpu_table(systems: Sequence[System], case: str = closed(MIXED)) -> Iterator[str]:
    """Where the CPU time of a closed loop goes."""
    rounds = {system.name: system.rounds[case] for system in systems}
    roles = list(dict.fromkeys(role for played in rounds.values() for role in played[0].cpu_s))
    yield "CPU time a request of these by process, in ms; a tier's workers by its name:"
    yield ""
    yield f"| system | {' | '.join(roles)} |"
    yield f"|---|{'---|' * len(roles)}"
    for name, played in rounds.items():
        cells = [
            f"{1000 * np.median(cpu_s(played, role)):.1f}" if role in played[0].cpu_s else ""
            for role in roles
        ]
        yield f"| {name} | {' | '.join(cells)} |"


def mixes_table(systems: Sequence[System]) -> Iterator[str]:
    """The other mixes."""
    played = systems[0].rounds
    mixes = [mix for mix in MIXES if mix != MIXED and closed(mix) in played]
    yield f"Other questions: accuracy, requests/s ({closed('…').removeprefix('…, ')})."
    yield ""
    yield f"| system | {' | '.join(mixes)} |"
    yield f"|---|{'---|' * len(mixes)}"
    for system in systems:
        cells = []
        for mix in mixes:
            rounds = system.rounds[closed(mix)]
            rate = np.median([played.requests_per_s for played in rounds])
            cells.append(f"{np.mean(right(rounds)):.3f}, {rate:.1f}/s")
        yield f"| {system.name} | {' | '.join(cells)} |"


def open_table(systems: Sequence[System], full: float, unit_ms: float) -> Iterator[str]:
    """The open loops.

    Args:
        full: the largest tier's requests per second.
    """
    yield (
        "Open loops: the SLO scale that 95 % of the requests meet; latency p50, p99; time to the "
        f"first token p50, p95. The unit of the scale is {unit_ms:.0f} ms, the largest tier's mean "
        "alone, one at a time. Shares are of that tier's requests/s in the closed loop. A front "
        "that does not know yet whether it keeps an answer has no first token before the last. "
        "Of the tiers alone only the largest is asked."
    )
    yield ""
    loads = [load for load in OPEN if load.case in systems[0].rounds]
    heads = [f"{load.share * full:.1f}/s, {load.share:.0%}, {load.arrivals}" for load in loads]
    yield f"| system | {' | '.join(heads)} |"
    yield f"|---|{'---|' * len(heads)}"
    for system in systems:
        if not system.is_rival:
            continue
        cells = []
        for load in loads:
            rounds = system.rounds[load.case]
            p50, p95, p99 = (np.median(quantiles(rounds, q)) for q in (0.5, ATTAINED, 0.99))
            first = [np.median(quantiles(rounds, q, True)) for q in (0.5, 0.95)]
            cells.append(
                f"{p95 / unit_ms:.2f}; {p50:.0f}, {p99:.0f}; {first[0]:.0f}, {first[1]:.0f} ms"
            )
        yield f"| {system.name} | {' | '.join(cells)} |"


def served_table(served: Mapping[str, Sequence[Figures]]) -> Iterator[str]:
    """What `sglang.bench_serving` found."""
    yield f"Mixed questions at {SERVED.share:.0%}, by `sglang.bench_serving`; medians of its runs:"
    yield ""
    yield f"| system | {' | '.join(FIGURES)} |"
    yield f"|---|{'---|' * len(FIGURES)}"
    for name, runs in served.items():
        cells = [f"{np.median([run[figure] for run in runs]):.1f}" for figure in FIGURES]
        yield f"| {name} | {' | '.join(cells)} |"


def relations_table(rows: Iterable[tuple[str, str, str, str, Estimate]]) -> Iterator[str]:
    """The rows of `report.relations` as a table."""
    yield "| | what | where | value | 95 % interval |"
    yield "|---|---|---|---|---|"
    for variant, case, metric, _, value in rows:
        has_interval = value.low95 is not None and value.high95 is not None
        interval = f"{value.low95:.3f} to {value.high95:.3f}" if has_interval else ""
        yield f"| {variant} | {metric} | {case} | {value.p50:.3f} | {interval} |"


def mixed_page(systems: Sequence[System]) -> str:
    """The tables of the mixed questions alone."""
    tables = (closed_table(systems), cpu_table(systems), relations_table(relations(systems)))
    return "\n\n".join("\n".join(lines) for lines in tables)


def page(
    systems: Sequence[System], full: float, unit_ms: float, served: Mapping[str, Sequence[Figures]]
) -> str:
    """All tables of the comparison; arguments as `open_table` and `served_table` have them."""
    tables = (
        closed_table(systems),
        cpu_table(systems),
        mixes_table(systems),
        open_table(systems, full, unit_ms),
        *([served_table(served)] if served else []),
        relations_table(relations(systems)),
    )
    return "\n\n".join("\n".join(lines) for lines in tables)
