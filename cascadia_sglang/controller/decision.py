"""Decides whether to move, from logged values alone, so that a log can be decided again."""

from __future__ import annotations

from typing import Literal

import msgspec

from cascadia_sglang.controller.move_price import MovePrice
from cascadia_sglang.controller.traffic_change import Change
from cascadia_sglang.planner.online.proposal import Proposal


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """When a move is worth it.

    Attributes:
        horizon_s: how long a gain is counted for.
        cooldown_s: after a move, before the next.
        model_error: share of the predicted latency that a prediction may be off; a gain below is
            none. The simulator's own error on emulated devices is below 7 %.
    """

    horizon_s: float = 600.0
    cooldown_s: float = 60.0
    model_error: float = 0.1


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """All that a decision is made of.

    Attributes:
        at_s: of the server's monotonic clock.
        changes: since the plan in force, by the monitor.
        moved_at_s: end of the last move; None before the first.
        is_followed_up: whether a move that a change brought is to be looked at once more: its plan
            was made while traffic of before the change was in the window.
        extra_s: by how much a request's latency rose during the last move; before the first, the
            mean latency, as if requests took twice as long.
        failure: why there is no proposal, where one was asked for.
        move: what the proposal's move takes.
    """

    at_s: float
    changes: list[Change]
    rate_per_s: float
    moved_at_s: float | None
    extra_s: float
    rules: Rules
    proposal: Proposal | None = None
    failure: str | None = None
    move: MovePrice = MovePrice()
    is_followed_up: bool = False


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided, and why; gain and cost in seconds, summed over the requests."""

    verdict: Literal["move", "stay"]
    reason: str
    gain_s: float = 0.0
    cost_s: float = 0.0


def reason_to_stay(situation: Situation) -> str | None:
    """Why no plan need be asked for; None where one should be."""
    if not situation.changes and not situation.is_followed_up:
        return "no_change"
    moved_at_s = situation.moved_at_s
    if moved_at_s is not None and situation.at_s - moved_at_s < situation.rules.cooldown_s:
        return "cooling_down"
    return None


def decide(situation: Situation) -> Decision:
    """The verdict on a situation.

    A plan gains from the end of its move on. Meanwhile requests wait longer: by what the last move
    brought, or by what the simulation says of the devices that stand still, whichever is more.
    """
    reason = reason_to_stay(situation)
    if reason is not None:
        return Decision(verdict="stay", reason=reason)
    proposal = situation.proposal
    if proposal is None:
        return Decision(verdict="stay", reason=f"no_plan: {situation.failure}")
    move = situation.move
    if not move.starts and not move.stops and proposal.thresholds is None:
        return Decision(verdict="stay", reason="same_plan")
    saved_s = proposal.current_s - proposal.predicted_s
    rate = situation.rate_per_s
    gain_s = saved_s * rate * max(0.0, situation.rules.horizon_s - move.moving_s)
    lost_s = proposal.interim_extra_s * move.idle_s
    cost_s = rate * max(situation.extra_s * move.moving_s, lost_s)
    if proposal.quality is not None and proposal.quality.is_restored:
        return Decision(verdict="move", reason="quality", gain_s=gain_s, cost_s=cost_s)
    if saved_s <= situation.rules.model_error * proposal.current_s:
        return Decision(
            verdict="stay", reason="gain_within_model_error", gain_s=gain_s, cost_s=cost_s
        )
    if gain_s <= cost_s:
        return Decision(verdict="stay", reason="gain_below_cost", gain_s=gain_s, cost_s=cost_s)
    return Decision(verdict="move", reason="gain", gain_s=gain_s, cost_s=cost_s)


class LogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the log: what was known, what was decided, and how the move ended."""

    situation: Situation
    decision: Decision
    outcome: str | None = None


def replay_log(lines: bytes) -> list[tuple[LogEntry, Decision]]:
    """Every entry of a log, JSON a line, with the decision that its situation leads to now."""
    entries = [msgspec.json.decode(line, type=LogEntry) for line in lines.splitlines()]
    return [(entry, decide(entry.situation)) for entry in entries]
