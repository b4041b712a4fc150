"""What the benches beside it have measured, as rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench import RESULTS
from bench.harness.estimates import Estimate, mean, mean_difference, median_ratio, spread
from bench.harness.rows import Facts, make_row, save_rows
from bench.rivals.system import CONCURRENCY, PlayedRound, System
from bench.rivals.workloads import AZURE, BURSTS, MIXED, POISSON
from bench.serving.ceiling import ceiling

DEMO = "demo/cascade.yaml"
ATTAINED = 0.95
# Of the curve of attainment, from an eighth to 32, at steps of the square root of two.
CURVE = tuple(2 ** (step / 2) for step in range(-6, 11))
WITHIN = "answered within SLO scale "
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
SET_TO = "set to "
ALONE = " alone"  # how the name of a tier without the others ends
CEILING = "a judge that is never wrong, tiers in turn"

MetricEstimate = tuple[str, str, Estimate]  # metric, unit, value


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """An open loop: its share of the largest tier's requests per second, and how they arrive, as
    `workloads.load` has it."""

    share: float
    arrivals: str = POISSON

    @property
    def case(self) -> str:
        arrivals = "" if self.arrivals == POISSON else f", {self.arrivals}"
        return f"open loop at {self.share:g} of the largest tier's rate{arrivals}"


OPEN = (
    *(Load(share=share) for share in (0.3, 0.6, 0.9)),
    *(Load(share=0.6, arrivals=arrivals) for arrivals in (BURSTS, *AZURE)),
)
# What `bench.rivals.serving` asks.
SERVED = Load(share=0.6)


def closed(mix: str) -> str:
    """The case of a closed loop."""
    return f"{mix}, concurrency {CONCURRENCY}"


def set_to(name: str) -> str:
    """The case of the mixed questions at a setting."""
    return f"{closed(MIXED)}, {SET_TO}{name}"


def quantiles(rounds: Sequence[PlayedRound], share: float, first: bool = False) -> list[float]:
    """Round by round a quantile of the latencies, or of the times to the first byte; ms."""
    times = [played.first_ms if first else played.latencies_ms for played in rounds]
    return [float(np.quantile(time, share)) for time in times]


def right(rounds: Sequence[PlayedRound]) -> list[float]:
    """Question by question of all rounds."""
    return [is_right for played in rounds for is_right in played.right]


def cpu_s(rounds: Sequence[PlayedRound], role: str | None = None) -> list[float]:
    """Round by round the CPU time a request, of one role or of all processes."""
    return [sum(played.cpu_s.values()) if role is None else played.cpu_s[role] for played in rounds]


def discarded(rounds: Sequence[PlayedRound]) -> Estimate:
    """The share of the generated tokens that no client was given."""
    shares = [1 - played.answered_tokens / played.generated_tokens for played in rounds]
    return spread(shares)


def attained(rounds: Sequence[PlayedRound], scale: float, unit_ms: float) -> Estimate:
    """The share of all requests that are answered within a scale; n counts requests."""
    times = np.concatenate([played.latencies_ms for played in rounds])
    return Estimate(p50=float((times <= scale * unit_ms).mean()), n=len(times))


def of_any_loop(rounds: Sequence[PlayedRound]) -> Iterator[MetricEstimate]:
    """Rows of a closed and of an open loop."""
    yield "accuracy", "1", mean(right(rounds))
    yield "latency mean", "ms", spread([float(np.mean(played.latencies_ms)) for played in rounds])
    for name, share in QUANTILES.items():
        yield f"latency {name}", "ms", spread(quantiles(rounds, share))
    yield "tokens discarded", "1", discarded(rounds)
    yield "CPU a request", "s", spread(cpu_s(rounds))
    for role in rounds[0].cpu_s:
        yield f"CPU a request, {role}", "s", spread(cpu_s(rounds, role))


def of_closed_loop(rounds: Sequence[PlayedRound]) -> Iterator[MetricEstimate]:
    """Rows of a closed loop."""
    yield "requests per second", "1/s", spread([played.requests_per_s for played in rounds])
    yield from of_any_loop(rounds)


def of_open_loop(rounds: Sequence[PlayedRound], unit_ms: float) -> Iterator[MetricEstimate]:
    """Rows of an open loop; `unit_ms` is that of the SLO scale."""
    yield "SLO scale", "1", spread([quantile / unit_ms for quantile in quantiles(rounds, ATTAINED)])
    for name, share in QUANTILES.items():
        yield f"first token {name}", "ms", spread(quantiles(rounds, share, first=True))
    yield from of_any_loop(rounds)
    for scale in CURVE:
        yield f"{WITHIN}{scale:.3f}", "1", attained(rounds, scale, unit_ms)


def estimates(system: System, unit_ms: float) -> Iterator[tuple[str, str, str, Estimate]]:
    """Case, metric, unit and value of every row of a system; `unit_ms` as above."""
    yield closed(MIXED), "memory after it", "GB", Estimate(p50=system.memory_gb, n=1)
    loads = {load.case for load in OPEN}
    for case, rounds in system.rounds.items():
        for row in of_open_loop(rounds, unit_ms) if case in loads else of_closed_loop(rounds):
            yield case, *row


def ceilings(systems: Sequence[System]) -> Iterator[tuple[str, str, str, str, Estimate]]:
    """The ceiling of the tiers alone, and every other system beside it, round by round."""
    case, metric = closed(MIXED), "requests per second"
    tiers = [system.rounds[case] for system in systems if system.name.endswith(ALONE)]
    if not tiers:
        return
    best = [
        ceiling(
            [rounds_of_tier.right for rounds_of_tier in played],
            [rounds_of_tier.requests_per_s for rounds_of_tier in played],
        )
        for played in zip(*tiers, strict=True)
    ]
    best_per_s = [each.in_turn_per_s for each in best]
    yield CEILING, case, metric, "1/s", spread(best_per_s)
    yield CEILING, case, "accuracy", "1", spread([each.accuracy for each in best])
    for system in systems:
        if not system.name.endswith(ALONE):
            rates = [played.requests_per_s for played in system.rounds[case]]
            yield f"{system.name} / {CEILING}", case, metric, "1", median_ratio(rates, best_per_s)


def relations(systems: Sequence[System]) -> Iterator[tuple[str, str, str, str, Estimate]]:
    """Variant, case, metric, unit and value: the first system beside every other; the ceiling."""
    yield from beside(systems)
    yield from ceilings(systems)


def beside(systems: Sequence[System]) -> Iterator[tuple[str, str, str, str, Estimate]]:
    """The same of the first system and every other, over the rounds that both have played."""
    first, *later = systems
    loads = {load.case for load in OPEN}
    for second in later:
        over, less = f"{first.name} / {second.name}", f"{first.name} - {second.name}"
        for case in first.rounds:
            if SET_TO in case or case not in second.rounds:
                continue
            both = list(zip(first.rounds[case], second.rounds[case], strict=False))
            ours, theirs = [pair[0] for pair in both], [pair[1] for pair in both]
            if case in loads:
                # What a request is measured by falls out of the ratio.
                ratio = _ratio(quantiles(ours, ATTAINED), quantiles(theirs, ATTAINED))
                yield over, case, "SLO scale", "1", ratio
                continue
            rates = [[played.requests_per_s for played in rounds] for rounds in (ours, theirs)]
            yield over, case, "requests per second", "1", _ratio(*rates)
            yield over, case, "CPU a request", "1", _ratio(cpu_s(ours), cpu_s(theirs))
            yield less, case, "accuracy", "1", mean_difference(right(ours), right(theirs))


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """Of paired rounds; one pair alone has no interval."""
    ratio = median_ratio(ours, theirs)
    return ratio if len(ours) > 1 else replace(ratio, low95=None, high95=None)


def of_mixed(
    systems: Sequence[System], how: str = ""
) -> Iterator[tuple[str, str, str, str, Estimate]]:
    """The same of the mixed questions alone, and every system's own; `how` goes before the case."""
    case = closed(MIXED)
    for system in systems:
        for row in of_closed_loop(system.rounds[case]):
            yield system.name, f"{how}{case}", *row
    for variant, where, *value in relations(systems):
        yield variant, f"{how}{where}", *value


def save(
    facts: Facts,
    bench: str,
    estimated: Iterable[tuple[str, str, str, str, Estimate]],
    page: str,
    models: str = DEMO,
) -> None:
    """Write the rows of a bench, and its page.

    Args:
        estimated: variant, case, metric, unit and value of every row.
        models: that were asked; each case begins with them.
    """
    rows = [
        make_row(
            facts,
            bench=bench,
            case=f"{models}, {case}",
            variant=variant,
            metric=metric,
            unit=unit,
            value=value,
        )
        for variant, case, metric, unit, value in estimated
    ]
    save_rows(RESULTS / f"{bench}.csv", rows)
    (RESULTS / f"{bench}.md").write_text(page)
