"""The timeline, from looks one after the other."""

import dataclasses
import json
from typing import Any

from cascadia_sglang.capacity.move_steps import SetThresholds
from cascadia_sglang.capacity.types import RunningPlan
from cascadia_sglang.controller.decision import Decision, LogEntry, Rules, Situation
from cascadia_sglang.controller.mover import MoveResult, MoveStep
from cascadia_sglang.page.timeline import ServerState, Timeline

FIRST = ServerState(
    at=100.0,
    workers={"small-1": "ready", "large-1": "ready"},
    losses={},
    bypassed=frozenset(),
    thresholds=(0.8,),
    gear=0,
    plan_number=1,
    moved=None,
    decisions=(),
)


def entry(verdict: Any, reason: str, outcome: str | None = None) -> LogEntry:
    situation = Situation(
        at_s=0.0, changes=[], rate_per_s=1.0, moved_at_s=None, extra_s=0.0, rules=Rules()
    )
    return LogEntry(
        situation=situation, decision=Decision(verdict=verdict, reason=reason), outcome=outcome
    )


def events_of(*looks: dict[str, Any]) -> list[dict[str, Any]]:
    """Events of looks after the first, each with what it changes."""
    timeline, now = Timeline(), FIRST
    timeline.add_changes(now)
    last_number = timeline.events.number
    for number, changes in enumerate(looks, 1):
        now = dataclasses.replace(now, at=100.0 + number, **changes)
        timeline.add_changes(now)
    return [json.loads(bytes(raw)) for raw in timeline.events.after(last_number)]


def test_a_quiet_server_has_no_events() -> None:
    assert events_of({}, {}, {}) == []


def test_the_first_look_adds_the_workers() -> None:
    timeline = Timeline()
    timeline.add_changes(FIRST)
    events = [json.loads(bytes(raw)) for raw in timeline.events.after(0)]
    assert [(event["worker"], event["what"]) for event in events] == [
        ("small-1", "ready"),
        ("large-1", "ready"),
    ]


def test_a_lost_worker_is_told_with_its_reason_and_its_successor() -> None:
    events = events_of(
        {"workers": {"small-1": "ready"}, "losses": {"large-1": "a process ended"}},
        {"workers": {"small-1": "ready", "large-2": "starting"}},
        {"workers": {"small-1": "ready", "large-2": "ready"}},
    )
    assert [(event["worker"], event["what"], event["why"]) for event in events] == [
        ("large-1", "gone", "a process ended"),
        ("large-2", "starting", None),
        ("large-2", "ready", None),
    ]
    assert [event["at"] for event in events] == [101.0, 102.0, 103.0]
    assert len({event["key"] for event in events}) == 3


def test_a_plan_is_told_with_its_steps() -> None:
    action = SetThresholds(thresholds=(0.5,))
    moved = MoveResult(
        plan=RunningPlan(replicas=(), thresholds=(0.5,)),
        steps=(MoveStep(action=action, seconds=0.25),),
        seconds=0.25,
    )
    (event,) = events_of({"plan_number": 2, "moved": moved, "thresholds": (0.5,)})
    assert (event["kind"], event["what"], event["steps"]) == ("plan", "plan 2", ["thresholds"])
    assert event["seconds"] == 0.25


def test_thresholds_gears_and_breakers_are_told() -> None:
    events = events_of(
        {"thresholds": (0.7,)},
        {"gear": 1, "thresholds": (0.6,)},
        {"bypassed": frozenset({"small"})},
        {"bypassed": frozenset()},
    )
    assert [(event["kind"], event["what"]) for event in events] == [
        ("thresholds", "0.7"),
        ("gear", "gear 1"),
        ("breaker", "small bypassed"),
        ("breaker", "small restored"),
    ]


def test_equal_decisions_in_a_row_are_one_event_with_a_count() -> None:
    decisions: list[LogEntry] = []
    events: list[dict[str, Any]] = []
    timeline = Timeline()
    timeline.add_changes(FIRST)
    last_number = timeline.events.number
    words = [("stay", "no_change")] * 3 + [("move", "gain")] + [("stay", "no_change")] * 2
    for number, (verdict, reason) in enumerate(words, 1):
        decisions.append(entry(verdict, reason, "moved" if verdict == "move" else None))
        timeline.add_changes(
            dataclasses.replace(FIRST, at=100.0 + number, decisions=tuple(decisions))
        )
    for raw in timeline.events.after(last_number):
        events.append(json.loads(bytes(raw)))
    by_key = {event["key"]: event for event in events}
    assert [(event["what"], event["count"]) for event in by_key.values()] == [
        ("stay", 3),
        ("move", 1),
        ("stay", 2),
    ]
    assert [event["first_at"] for event in by_key.values()] == [101.0, 104.0, 105.0]
