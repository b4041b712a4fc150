"""What the arms of `bench.rivals.shift` made of their traces: goodput, rows and a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bench.harness.estimates import Estimate
from bench.harness.rows import Facts, Row, make_row, source_line
from bench.reallocation.phases import Phase
from bench.rivals.shift.gear_plan import ATTAINED

BENCH = "rivals.shift"
# Requests of a run are resampled in blocks of so many seconds, each phase for itself: those that
# come one after the other share their queues.
BLOCK_S = 10.0
RESAMPLES = 2_000
_SEED = 0

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What an arm made of a trace; arrays are of its requests.

    Attributes:
        at_s: when they were due.
        seconds: from then to the answer.
        in_time: answered within the target.
        right: answered, and rightly.
        shifts: of gears, by a controller beside the server.
    """

    at_s: Floats
    seconds: Floats
    in_time: Flags
    right: Flags
    failed: int
    moves: int
    shifts: int

    @property
    def attained(self) -> float:
        return float(self.in_time.mean())

    @property
    def accuracy(self) -> float:
        """Share of the requests that were answered rightly, in time or not."""
        return float(self.right.mean())

    def summary(self) -> str:
        """The run in a line."""
        p95 = float(np.quantile(self.seconds, 0.95))
        return (
            f"{self.attained:.3f} in time, {self.accuracy:.3f} right, p95 {p95:.1f} s, "
            f"{self.failed} failed, {self.moves} moves, {self.shifts} shifts"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftResult:
    """Everything that is reported.

    Attributes:
        phases: at scale 1.
        fixed, moved: what each fixed split, and the best split of every phase, carry by simulation,
            as scales.
        runs: of every arm, one a scale; the first is Cascadia, the second its rival.
        busy_cores: of the host, one a scale.
    """

    phases: Sequence[Phase]
    scales: Sequence[float]
    slo_s: float
    floor: float
    fixed: dict[int, float]
    moved: float
    runs: dict[str, list[Run]]
    busy_cores: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """That requests come for."""
        return sum(phase.seconds for phase in self.phases)


def highest_scale(scales: Sequence[float], attained: Sequence[float], share: float) -> float:
    """The scale up to which a share is attained, between the scales by straight lines.

    Below the first one in proportion to what is attained there, and at most the last one.
    """
    for index, now in enumerate(attained):
        if now >= share:
            continue
        if index == 0:
            return scales[0] * now / share
        before = attained[index - 1]
        part = (before - share) / (before - now)
        return scales[index - 1] + part * (scales[index] - scales[index - 1])
    return scales[-1]


def resampled(run: Run, phases: Sequence[Phase], rng: np.random.Generator) -> Floats:
    """The share in time in each of `RESAMPLES` draws of the run's blocks, phase by phase."""
    block_R = np.floor(run.at_s / BLOCK_S).astype(np.int64)
    count_B = np.bincount(block_R)
    good_B = np.bincount(block_R, weights=run.in_time)
    good, count = np.zeros(RESAMPLES), np.zeros(RESAMPLES)
    begins_s = 0.0
    for phase in phases:
        first, last = (
            min(len(count_B), round(at_s / BLOCK_S))
            for at_s in (begins_s, begins_s + phase.seconds)
        )
        begins_s += phase.seconds
        if last <= first:
            continue
        picks = rng.integers(first, last, size=(RESAMPLES, last - first))
        good += good_B[picks].sum(axis=1)
        count += count_B[picks].sum(axis=1)
    return good / np.maximum(count, 1)


def goodputs(results: ShiftResult) -> tuple[dict[str, Estimate], Estimate]:
    """The highest scale of every arm, and the first arm's over the second's, with intervals.

    All arms' blocks are drawn alike, as they had the same requests at the same times.
    """
    drawn: dict[str, Floats] = {}
    values: dict[str, Estimate] = {}
    for name, runs in results.runs.items():
        rng = np.random.default_rng(_SEED)
        shares = np.stack([resampled(run, results.phases, rng) for run in runs], axis=1)
        drawn[name] = np.array([highest_scale(results.scales, row, ATTAINED) for row in shares])
        value = highest_scale(results.scales, [run.attained for run in runs], ATTAINED)
        values[name] = _between(value, drawn[name], len(runs))
    first, second = list(results.runs)[:2]
    ratio = values[first].p50 / values[second].p50
    return values, _between(ratio, drawn[first] / drawn[second], len(results.scales))


def _between(value: float, drawn: Floats, n: int) -> Estimate:
    low, high = np.quantile(drawn, (0.025, 0.975)).tolist()
    return Estimate(p50=value, low95=low, high95=high, n=n)


def rows_of(results: ShiftResult, facts: Facts) -> list[Row]:
    """Every number as a row."""

    def numbers() -> Iterator[tuple[str, str, str, str, Estimate]]:
        whole = f"all scales, within {results.slo_s:g} s"
        values, ratio = goodputs(results)
        for name, value in values.items():
            yield whole, name, "goodput, scale", "1", value
        first, second = list(results.runs)[:2]
        yield whole, f"{first} / {second}", "goodput, scale", "1", ratio
        for split, scale in results.fixed.items():
            yield whole, f"simulated, {split} small", "goodput, scale", "1", _one(scale)
        yield whole, "simulated, best split a phase", "goodput, scale", "1", _one(results.moved)
        for index, scale in enumerate(results.scales):
            case = f"scale {scale:g}, within {results.slo_s:g} s"
            yield case, "host", "cores busy", "1", _one(results.busy_cores[index])
            for name, runs in results.runs.items():
                run = runs[index]
                n = len(run.at_s)
                good = float((run.in_time & run.right).sum()) / results.seconds
                yield case, name, "answered in time", "1", _one(run.attained, n)
                yield case, name, "accuracy", "1", _one(run.accuracy, n)
                yield case, name, "in time and right", "1/s", _one(good, n)
                yield case, name, "latency p95", "s", _one(float(np.quantile(run.seconds, 0.95)), n)
                yield case, name, "failed", "count", _one(run.failed, n)
                yield case, name, "moves", "count", _one(run.moves)
                yield case, name, "shifts by rate", "count", _one(run.shifts)

    return [
        make_row(
            facts,
            bench=BENCH,
            case=f"{case}; emulated devices",
            variant=name,
            metric=metric,
            unit=unit,
            value=value,
        )
        for case, name, metric, unit, value in numbers()
    ]


def _one(value: float, n: int = 1) -> Estimate:
    return Estimate(p50=value, n=n)


def page(results: ShiftResult, facts: Facts) -> str:
    """The tables."""
    values, ratio = goodputs(results)
    phases = ", ".join(
        f"{phase.rate_per_s:.1f}/s for {phase.seconds:g} s" for phase in results.phases
    )
    fixed = ", ".join(f"{split} small {scale:.2f}" for split, scale in results.fixed.items())
    heads = " | ".join(f"{scale:g}" for scale in results.scales)
    lines = [
        "# Traffic that shifts, on emulated devices",
        "",
        f"Easy, hard, easy questions, at scale 1: {phases}. In time is within {results.slo_s:g} s; "
        f"the floor of accuracy is {results.floor:g}. Goodput is the highest scale at which "
        f"{ATTAINED:.0%} are in time, with 95 % intervals over blocks of {BLOCK_S:g} s.",
        "",
        f"| arm | goodput, scale | in time at scale {heads} | in time and right a second | "
        "accuracy | moves | failed |",
        f"|---|---|{'---|' * len(results.scales)}---|---|---|---|",
    ]
    for name, runs in results.runs.items():
        good = [float((run.in_time & run.right).sum()) / results.seconds for run in runs]
        lines.append(
            f"| {name} | {_told(values[name])} "
            f"| {' | '.join(f'{run.attained:.1%}' for run in runs)} "
            f"| {', '.join(f'{rate:.1f}' for rate in good)} "
            f"| {', '.join(f'{run.accuracy:.3f}' for run in runs)} "
            f"| {', '.join(str(run.moves) for run in runs)} "
            f"| {sum(run.failed for run in runs)} |"
        )
    first, second = list(results.runs)[:2]
    lines += [
        "",
        f"{first} / {second}: {_told(ratio)}. Simulated, a fixed split carries {fixed}; the best "
        f"split of every phase, moved in no time, {results.moved:.2f}. Cores of the host busy: "
        f"{', '.join(f'{busy:.2f}' for busy in results.busy_cores)}.",
        "",
        source_line(facts),
        "",
    ]
    return "\n".join(lines)


def _told(value: Estimate) -> str:
    return f"{value.p50:.2f} [{value.low95:.2f}, {value.high95:.2f}]"
