"""What the steps have shown, as rows and as a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.harness.estimates import Estimate, mean, spread
from bench.real.live.ceilings import Ceiling, Replay, ceilings
from bench.real.live.choice import SET, Choice
from bench.real.live.groups import TIERS
from bench.real.live.live_questions import CONCURRENCY
from bench.real.live.steps import OneAtATime, PlayedStep
from bench.rivals.page import cpu_table, open_table, relations_table
from bench.rivals.report import (
    ALONE,
    Load,
    beside,
    cpu_s,
    discarded,
    of_closed_loop,
    of_open_loop,
    quantiles,
    right,
)
from bench.rivals.system import System
from bench.rivals.systems import CASCADE

CLOSED = f"{SET} questions, concurrency {CONCURRENCY}"
OPEN = Load(share=0.6)
_RATE = "requests per second"

Estimated = tuple[str, str, str, str, Estimate]  # variant, case, metric, unit, value


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything that is reported.

    Attributes:
        systems: with all their rounds, the cascade first and the larger tier alone last.
        ceilings: by the rule's name.
    """

    choice: Choice
    systems: Sequence[System]
    one_at_a_time: OneAtATime
    ceilings: Mapping[str, Ceiling]

    @property
    def largest_per_s(self) -> float:
        return rate_of(self.systems[-1])


def comparison(choice: Choice, played: Sequence[PlayedStep], replay: Replay) -> Comparison:
    """All steps together.

    Args:
        replay: of the questions that were asked.
    """
    by_name: dict[str, System] = {}
    for step in sorted(played, key=lambda each: each.step.number):
        for name, rounds in step.rounds.items():
            system = by_name.setdefault(
                name, System(name=name, port=0, pids=(), is_rival=OPEN.case in rounds)
            )
            system.memory_gb = step.memory_gb[name]
            for case, played_round in rounds.items():
                system.rounds.setdefault(case, []).append(played_round)
    small, large = (f"{tier}{ALONE}" for tier in TIERS)
    order = {CASCADE: 0, small: 2, large: 3}
    systems = sorted(by_name.values(), key=lambda system: order.get(system.name, 1))
    [one_at_a_time] = [each.one_at_a_time for each in played if each.one_at_a_time is not None]
    ceiling_by_name = {}
    if small in by_name:
        rates = [rate_of(by_name[name]) for name in (small, large)]
        ceiling_by_name = ceilings(replay, *rates, decoding=one_at_a_time.decoding)
    return Comparison(
        choice=choice, systems=systems, one_at_a_time=one_at_a_time, ceilings=ceiling_by_name
    )


def rate_of(system: System) -> float:
    """Requests that it answers a second in the closed loop."""
    return float(np.median([played.requests_per_s for played in system.rounds[CLOSED]]))


def estimates(result: Comparison) -> Iterator[Estimated]:
    """Every row."""
    choice, alone = result.choice, result.one_at_a_time
    where = "recorded questions that chose"
    for name, setting in choice.settings.items():
        for metric, value in (
            ("threshold", setting.threshold),
            ("accuracy", setting.accuracy),
            ("answered by the larger tier", setting.at_larger),
        ):
            yield name, where, metric, "1", Estimate(p50=value, n=choice.questions)
    largest = result.systems[-1].name
    yield largest, where, "accuracy", "1", Estimate(p50=choice.larger, n=choice.questions)
    yield largest, "one at a time", "latency mean", "ms", mean(alone.latencies_ms)
    yield largest, "one at a time", "first token mean", "ms", mean(alone.first_ms)
    unit_ms = mean(alone.latencies_ms).p50
    for system in result.systems:
        memory = Estimate(p50=system.memory_gb, n=1)
        yield system.name, CLOSED, "memory after it", "GB", memory
        for row in of_closed_loop(system.rounds[CLOSED]):
            yield system.name, CLOSED, *row
        if system.is_rival:
            for row in of_open_loop(system.rounds[OPEN.case], unit_ms):
                yield system.name, OPEN.case, *row
    yield from relations(result)


def relations(result: Comparison) -> Iterator[Estimated]:
    """The cascade beside every other system, and beside the ceilings."""
    yield from beside(result.systems)
    rates = [played.requests_per_s for played in result.systems[0].rounds[CLOSED]]
    for name, ceiling in result.ceilings.items():
        best = ceiling.requests_per_s
        yield name, CLOSED, _RATE, "1/s", Estimate(p50=best, n=1)
        yield name, CLOSED, "accuracy", "1", Estimate(p50=ceiling.accuracy, n=1)
        yield name, CLOSED, "answered by the larger tier", "1", Estimate(p50=ceiling.climb, n=1)
        ratios = [rate / best for rate in rates]
        yield f"{CASCADE} / {name}", CLOSED, _RATE, "1", spread(ratios)


def settings_table(choice: Choice) -> Iterator[str]:
    """The settings."""
    yield (
        f"Settings, chosen on {choice.questions} recorded questions: the least cost whose accuracy "
        f"is at least {choice.floor:.3f}. The larger tier has {choice.larger:.3f} there."
    )
    yield ""
    yield "| system | threshold | accuracy there | answered by the larger tier |"
    yield "|---|---|---|---|"
    for name, setting in choice.settings.items():
        yield (
            f"| {name} | {setting.threshold:.5g} | {setting.accuracy:.3f} "
            f"| {setting.at_larger:.1%} |"
        )


def closed_table(systems: Sequence[System]) -> Iterator[str]:
    """The closed loop, a line a system."""
    yield f"Closed loop, {CLOSED}; accuracy with its 95 % interval:"
    yield ""
    yield (
        "| system | questions | accuracy | requests/s | latency p50, p95 | CPU a request | tokens "
        "discarded | memory |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for system in systems:
        rounds = system.rounds[CLOSED]
        accuracy = mean(right(rounds))
        p50, p95 = (np.median(quantiles(rounds, share)) for share in (0.5, 0.95))
        yield (
            f"| {system.name} | {accuracy.n} | {accuracy.p50:.3f} [{accuracy.low95:.3f}, "
            f"{accuracy.high95:.3f}] | {rate_of(system):.2f} | {p50:.0f}, {p95:.0f} ms "
            f"| {np.median(cpu_s(rounds)):.2f} s | {discarded(rounds).p50:.0%} "
            f"| {system.memory_gb:.1f} GB |"
        )


def ceilings_table(result: Comparison) -> Iterator[str]:
    """What rules that no server has would make of the recorded answers."""
    yield (
        "Ceilings, by replay of the recorded answers and the tiers' rates alone. The tiers take "
        "turns; a draft costs nothing."
    )
    yield ""
    yield "| rule | accuracy | requests/s | answered by the larger tier | the cascade's share |"
    yield "|---|---|---|---|---|"
    ours = rate_of(result.systems[0])
    for name, ceiling in result.ceilings.items():
        yield (
            f"| {name} | {ceiling.accuracy:.3f} | {ceiling.requests_per_s:.2f} "
            f"| {ceiling.climb:.1%} | {ours / ceiling.requests_per_s:.2f} |"
        )


def page(result: Comparison) -> str:
    """All tables."""
    unit_ms = mean(result.one_at_a_time.latencies_ms).p50
    tables = (
        settings_table(result.choice),
        closed_table(result.systems),
        cpu_table(result.systems, CLOSED),
        open_table(result.systems, result.largest_per_s, unit_ms),
        *([ceilings_table(result)] if result.ceilings else []),
        relations_table(beside(result.systems)),
    )
    return "\n\n".join("\n".join(lines) for lines in tables)
