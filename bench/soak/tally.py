"""What all pieces of a soak came to: kept in a file between them, and its rows and table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from bench.harness.estimates import Estimate
from bench.harness.rows import Facts, Row, make_row, source_line
from bench.soak.growth import slope
from bench.soak.mix import SPECULATIVE
from bench.soak.quiet_answers import Difference, plain
from bench.soak.sending import ANSWERED, BROKEN, HUNG, LEFT, POISON, REFUSED, End
from bench.soak.usage import METRICS

BENCH = "soak"
CASE = "mixed requests, faults and moves"
# Kept of each kind, to be looked at.
MOST_EXAMPLES = 50
_KINDS_OF_LEFTOVERS = (
    *("requests", "workers missing", "processes", "stopped processes"),
    *("processes after the end", "temporary files", "tracebacks in the log"),
)


@dataclass(slots=True)
class Tally:
    """Counts of one or more pieces.

    Attributes:
        pieces: that ran to their end.
        ends: of requests, by what came of them.
        routes, kinds, modes: of requests.
        errors: by status.
        tiers: that answered, where that is known.
        compared: greedy texts that were compared with a quiet server's.
        differed, explained: those that were others; and of these, by rounding alone.
        left: what was left over at the end of a piece.
        growth: increments per 1,000 requests, by what is measured.
        examples: of what went wrong.
    """

    pieces: int = 0
    seconds: float = 0.0
    ends: Counter[str] = field(default_factory=Counter)
    routes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    tiers: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    moves: int = 0
    calibrated: int = 0
    compared: int = 0
    differed: int = 0
    explained: int = 0
    left: Counter[str] = field(default_factory=Counter)
    growth: dict[str, list[float]] = field(default_factory=dict)
    examples: list[Any] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return self.ends.total()

    def note(self, end: End) -> None:
        """Count one request."""
        request = end.request
        self.ends[POISON if end.why == POISON else end.what] += 1
        self.routes[request.route] += 1
        self.kinds[request.kind] += 1
        self.modes[request.mode or "whole"] += 1
        if end.status >= 400 or end.what == REFUSED:
            self.errors[str(end.status)] += 1
        for tier in {end.tier, *(choice.tier for choice in end.choices)} - {None}:
            self.tiers[str(tier)] += 1
        if end.what in (BROKEN, HUNG):
            self.example(
                route=request.route,
                kind=request.kind,
                mode=request.mode,
                what=end.what,
                status=end.status,
                why=end.why,
            )

    def example(self, **facts: Any) -> None:
        """Keep one of what went wrong."""
        if len(self.examples) < MOST_EXAMPLES:
            self.examples.append(facts)

    def differ(self, difference: Difference, *, is_explained: bool) -> None:
        """Count an answer that is not the quiet server's."""
        self.differed += 1
        self.explained += is_explained
        if not is_explained:
            self.example(what="differs", **plain(difference))

    def grow(self, growth: Mapping[str, list[float]]) -> None:
        """Take in the increments of a piece."""
        for name, values in growth.items():
            self.growth.setdefault(name, []).extend(values)

    def faults_found(self) -> list[str]:
        """Why the soak has failed, a line each."""
        lines = [f"{what}: {count}" for what in (BROKEN, HUNG) if (count := self.ends[what])]
        if self.differed > self.explained:
            lines.append(
                f"answers that differ for no known reason: {self.differed - self.explained}"
            )
        lines += [f"left over: {name}: {count}" for name, count in self.left.items() if count]
        if broken := self.changes["broken"]:
            lines.append(f"changes without a clear answer: {broken}")
        return lines


def load(path: Path) -> Tally:
    """The tally that was kept; an empty one where there is none."""
    if not path.exists():
        return Tally()
    stored = json.loads(path.read_text())
    counters = {name for name, value in _plain(Tally()).items() if isinstance(value, Counter)}
    return Tally(**{k: Counter(v) if k in counters else v for k, v in stored.items()})


def save(tally: Tally, path: Path) -> None:
    """Keep it for the next piece."""
    written = path.with_suffix(".new")
    written.write_text(json.dumps(_plain(tally), indent=1))
    written.replace(path)


def _plain(tally: Tally) -> dict[str, Any]:
    return {each.name: getattr(tally, each.name) for each in fields(tally)}


def numbers(tally: Tally) -> Iterator[tuple[str, str, float]]:
    """Name, unit and value of all that is counted."""
    yield "pieces", "count", tally.pieces
    yield "duration", "s", tally.seconds
    yield "requests", "count", tally.requests
    for what in (ANSWERED, REFUSED, LEFT, HUNG, BROKEN, POISON):
        yield what, "count", tally.ends[what]
    for kind in ("routes", "kinds", "modes", "errors", "tiers", "faults", "changes"):
        for name, count in sorted(getattr(tally, kind).items()):
            yield f"{kind}: {name}", "count", count
    yield "faults", "count", tally.faults.total()
    yield "moves", "count", tally.moves
    yield "self-calibrations", "count", tally.calibrated
    yield "greedy texts compared", "count", tally.compared
    yield "of these others than quiet", "count", tally.differed
    yield "of these by rounding", "count", tally.explained
    for name in _KINDS_OF_LEFTOVERS:
        yield f"left over: {name}", "count", tally.left[name]


def rows_of(tally: Tally, facts: Facts) -> list[Row]:
    """One a number, and one a slope."""
    estimates = [
        (name, unit, Estimate(p50=value, n=tally.pieces)) for name, unit, value in numbers(tally)
    ]
    for name, values in sorted(tally.growth.items()):
        grown = slope(values)
        if grown is not None:
            estimates.append((f"growth: {name}", f"{_unit(name)} per 1,000 requests", grown))
    return [
        make_row(
            facts, bench=BENCH, case=CASE, variant="cascade", metric=name, unit=unit, value=value
        )
        for name, unit, value in estimates
    ]


def _unit(name: str) -> str:
    return METRICS.get(name.rpartition(" ")[2], "MiB")


def page(tally: Tally, facts: Facts) -> str:
    """The markdown page."""
    tiers = tally.tiers.total() or 1
    streams = tally.requests - tally.modes["whole"]
    least = min(tally.routes.items(), key=lambda item: item[1], default=("", 0))
    shown = [
        ("requests", f"{tally.requests:,} in {tally.pieces} pieces, {tally.seconds / 60:.0f} min"),
        ("of these streams", f"{_share(streams, tally.requests)}"),
        ("the rarest route", f"`{least[0]}`, {_share(least[1], tally.requests)}"),
        ("answers of the speculative tier", _share(tally.tiers[SPECULATIVE], tiers)),
        ("faults", _listed(tally.faults)),
        ("moves", f"{tally.moves:,}"),
        ("answered", f"{tally.ends[ANSWERED]:,}"),
        ("one clear error", f"{tally.ends[REFUSED]:,}; by status: {_listed(tally.errors)}"),
        ("its client left", f"{tally.ends[LEFT]:,}"),
        ("refused as the end of two workers", f"{tally.ends[POISON]:,}"),
        ("hung, broken off, doubled or lost", f"{tally.ends[HUNG] + tally.ends[BROKEN]:,}"),
        ("greedy texts compared with a quiet server's", f"{tally.compared:,}"),
        ("others, by rounding in a batch", f"{tally.explained:,}"),
        ("others, for no known reason", f"{tally.differed - tally.explained:,}"),
        ("left over at the end", _listed(+tally.left) or "nothing"),
    ]
    lines = ["# Soak", "", source_line(facts), "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in shown]
    lines += [
        *("", "Growth per 1,000 requests, with a 95 percent interval:", ""),
        *("| process | what | growth | interval | windows |", "|---|---|---|---|---|"),
    ]
    for name, values in sorted(tally.growth.items()):
        grown = slope(values)
        if grown is not None:
            role, _, metric = name.rpartition(" ")
            interval = f"{grown.low95:.3f} to {grown.high95:.3f}"
            lines.append(
                f"| {role} | {metric} | {grown.p50:.3f} {_unit(name)} | {interval} | {grown.n} |"
            )
    return "\n".join(lines) + "\n"


def _share(count: int, total: int) -> str:
    return f"{count / max(1, total):.1%}"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
