"""Events of workers, plans, decisions and thresholds: what changed between two states."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from cascadia_sglang.controller.decision import LogEntry
from cascadia_sglang.controller.mover import MoveResult
from cascadia_sglang.page.history import EncodedRows

MOST_EVENTS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """The state of the server at one time.

    Attributes:
        at: Unix seconds.
        workers: state by worker id.
        losses: why a worker ended, by worker id.
        moved: the last move; None before the first.
        decisions: of the controller, the oldest first.
    """

    at: float
    workers: Mapping[str, str]
    losses: Mapping[str, str]
    bypassed: frozenset[str]
    thresholds: tuple[float, ...]
    gear: int
    plan_number: int
    moved: MoveResult | None
    decisions: Sequence[LogEntry]


class Timeline:
    """Owns the events; each has a `key`, and a later event of the same key replaces it."""

    def __init__(self) -> None:
        self.events = EncodedRows(MOST_EVENTS)
        self._last: ServerState | None = None
        self._decision: LogEntry | None = None  # the newest that is in
        self._run: dict[str, Any] = {}  # the event of equal decisions in a row

    def add_changes(self, now: ServerState) -> None:
        """Add what has changed since the last state. The first state adds the workers."""
        before = self._last
        for event in _worker_events(before, now):
            self.events.add({"at": now.at, **event})
        if before is not None:
            for event in _setting_events(before, now):
                self.events.add({"at": now.at, **event})
        for entry in self._new_decisions(now.decisions):
            self._add_decision(entry, now.at)
        self._last = now

    def _new_decisions(self, decisions: Sequence[LogEntry]) -> list[LogEntry]:
        newer: list[LogEntry] = []
        for entry in reversed(decisions):
            if entry is self._decision:
                break
            newer.append(entry)
        return newer[::-1]

    def _add_decision(self, entry: LogEntry, at: float) -> None:
        """Equal decisions in a row are one event with a count."""
        self._decision = entry
        decision, proposal = entry.decision, entry.situation.proposal
        same = (decision.verdict, decision.reason) == (self._run.get("what"), self._run.get("why"))
        is_repeated = same and entry.outcome is None
        first_at = self._run["first_at"] if is_repeated else at
        self._run = {
            "kind": "decision",
            "key": f"decision {first_at:.3f}",
            "what": decision.verdict,
            "why": decision.reason,
            "first_at": first_at,
            "count": self._run["count"] + 1 if is_repeated else 1,
            "gain_s": decision.gain_s,
            "cost_s": decision.cost_s,
            "changes": [change.quantity for change in entry.situation.changes],
            "current_s": None if proposal is None else proposal.current_s,
            "predicted_s": None if proposal is None else proposal.predicted_s,
            "outcome": entry.outcome,
        }
        self.events.add({"at": at, **self._run})


def _worker_events(before: ServerState | None, now: ServerState) -> Iterator[dict[str, Any]]:
    previous_states: Mapping[str, str] = {} if before is None else before.workers
    for worker, state in now.workers.items():
        if previous_states.get(worker) != state:
            yield _worker(worker, state, None, now.at)
    for worker in previous_states.keys() - now.workers.keys():
        yield _worker(worker, "gone", now.losses.get(worker), now.at)


def _worker(worker: str, what: str, why: str | None, at: float) -> dict[str, Any]:
    key = f"worker {worker} {what} {at:.3f}"
    return {"kind": "worker", "key": key, "worker": worker, "what": what, "why": why}


def _setting_events(before: ServerState, now: ServerState) -> Iterator[dict[str, Any]]:
    def event(kind: str, what: str, **more: Any) -> dict[str, Any]:
        return {"kind": kind, "key": f"{kind} {now.at:.3f}", "what": what, "why": None, **more}

    if now.plan_number != before.plan_number:
        moved = now.moved
        steps: Iterable[Any] = () if moved is None else moved.steps
        yield event(
            "plan",
            f"plan {now.plan_number}",
            seconds=None if moved is None else round(moved.seconds, 3),
            steps=[msgspec.to_builtins(step.action)["type"] for step in steps],
        )
    elif now.thresholds != before.thresholds and now.gear == before.gear:
        yield event("thresholds", ", ".join(f"{value:.4g}" for value in now.thresholds))
    if now.gear != before.gear:
        yield event("gear", f"gear {now.gear}")
    for tier in sorted(now.bypassed - before.bypassed):
        yield event("breaker", f"{tier} bypassed")
    for tier in sorted(before.bypassed - now.bypassed):
        yield event("breaker", f"{tier} restored")
