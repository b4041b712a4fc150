"""Observe, plan, compare, act: moves capacity where the traffic has gone.

What it decides is in `decide`, of what it is told; here are the clock, the planner and the mover.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from cascadia_sglang.capacity.move_steps import Stop
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.controller.decision import LogEntry, Rules, Situation, decide, reason_to_stay
from cascadia_sglang.controller.monitor import Monitor
from cascadia_sglang.controller.mover import Mover, MoveResult
from cascadia_sglang.controller.traffic_change import Change
from cascadia_sglang.controller.window import LEAST_REQUESTS, ServingState, Traffic, plan_request
from cascadia_sglang.errors import CascadiaError
from cascadia_sglang.metrics.counters import Metrics
from cascadia_sglang.planner.online.plan_request import PlanRequest, WindowTier
from cascadia_sglang.planner.online.proposal import Proposal

logger = logging.getLogger(__name__)

Ask = Callable[[PlanRequest, float], Awaitable[Proposal]]

# Until a stop was measured.
FIRST_STOP_S = 1.0
# Before a move, for comparison.
BEFORE_S = 60.0
ENTRIES_KEPT = 1000


class Controller:
    """Decides at every look whether to move, and keeps what was known at each.

    Args:
        ask: the planner: a request and the seconds it has; whatever it raises, the plan stays.
        log: file to which every entry is added, a line each; None for none.
        clock: seconds of the clock that the monitor goes by.
    """

    def __init__(
        self,
        config: CascadeConfig,
        tiers: list[WindowTier],
        mover: Mover,
        monitor: Monitor,
        ask: Ask,
        metrics: Metrics,
        log: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.monitor = monitor
        self.entries: deque[LogEntry] = deque(maxlen=ENTRIES_KEPT)
        self._config = config
        self._rules = Rules(
            horizon_s=config.planner.horizon_s, cooldown_s=config.planner.cooldown_s
        )
        self._tiers = tiers
        self._mover = mover
        self._ask = ask
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._plan_number = mover.number
        self._moved_at_s: float | None = None
        self._changed_at_s: float | None = None  # the first look at the change that is there now
        self._follows_up = False
        self._stop_s = FIRST_STOP_S
        self._extra_s: float | None = None

    async def run(self) -> None:
        """Look again and again, whatever goes wrong with one look. Runs until cancelled."""
        # While the workers started, nobody could ask.
        self._renew(self._clock())
        while True:
            await asyncio.sleep(self._config.planner.interval_s)
            try:
                await self.check()
            except Exception:
                logger.exception("a look at the traffic failed; the plan stays")

    async def check(self) -> LogEntry:
        """Decide once, carry it out, and note both."""
        now = self._clock()
        if self._mover.number != self._plan_number:
            # Somebody else has changed the plan: it is for the traffic from now on.
            self._moved(now, now)
        situation = self._situation(now, self.monitor.check(now))
        if reason_to_stay(situation) is None:
            situation = await self._planned(situation)
        decision = decide(situation)
        self._settle(situation, now)
        outcome = None
        if decision.verdict == "move":
            assert situation.proposal is not None
            outcome = await self._move(situation.proposal, now - self._window_s(now))
            # Once for every change, however often its traffic is planned for.
            self._follows_up = bool(situation.changes)
        return self._note(LogEntry(situation=situation, decision=decision, outcome=outcome))

    def _settle(self, situation: Situation, now: float) -> None:
        """Take changed traffic as the new reference once plans for all of it brought no move.

        Right after a change the window still holds traffic of before it, so the first plan may
        well see no gain that a later one does.
        """
        if situation.proposal is not None:
            self._follows_up = False
        if not situation.changes:
            self._changed_at_s = None
            return
        if self._changed_at_s is None:
            self._changed_at_s = now
        longest_s = max(self.monitor.timing.recent_s)
        if now - self._changed_at_s >= 2 * longest_s:
            self._renew(now - longest_s)

    def _moved(self, now: float, reference_from_s: float) -> None:
        self._plan_number = self._mover.number
        self._moved_at_s = now
        self._renew(reference_from_s)

    def _renew(self, start_s: float) -> None:
        self._follows_up = False
        self.monitor.renew(start_s)
        self._changed_at_s = None

    async def propose(self) -> Proposal:
        """Ask for a plan for the traffic of now.

        Raises:
            CascadiaError: if none comes out in time.
        """
        started = self._clock()
        try:
            serving = ServingState(
                pools=self._mover.capacity(),
                thresholds=self._mover.running().thresholds,
                devices=self._mover.cluster.devices,
                blocks=self._mover.blocks,
                start_s=self._mover.cold_start_s(),
            )
            traffic = Traffic(
                requests=self.monitor.requests(started - self._window_s(started), started),
                rate_per_s=self._rate_per_s(started),
                climbing=self.monitor.climbing(),
                unseen=self.monitor.unseen,
            )
            request = plan_request(self._config, self._tiers, serving, traffic)
            return await self._ask(request, self._config.planner.deadline_s)
        finally:
            self._metrics.planned(self._clock() - started)

    def summary(self) -> dict[str, Any]:
        """The last decision and the traffic, for the status."""
        last = self.entries[-1] if self.entries else None
        names = [tier.name for tier in self._config.tiers]
        return {
            "decision": None if last is None else msgspec.to_builtins(last.decision),
            "changes": [] if last is None else msgspec.to_builtins(last.situation.changes),
            "outcome": None if last is None else last.outcome,
            "window": self.monitor.summary(self._clock(), names),
        }

    def _window_s(self, now: float) -> float:
        """The shortest recent span that has enough requests: a plan is made for those."""
        seconds = 0.0
        for seconds in sorted(self.monitor.timing.recent_s):
            if len(self.monitor.requests(now - seconds, now)) >= LEAST_REQUESTS:
                break
        return seconds

    def _rate_per_s(self, now: float) -> float:
        """At which requests come, in the shortest recent span that has enough of them."""
        rate = 0.0
        for seconds in sorted(self.monitor.timing.recent_s):
            span = self.monitor.span(now - seconds, now)
            rate = span.rate_per_s
            if len(span.arrivals_s_N) >= LEAST_REQUESTS:
                break
        return rate

    def _situation(self, now: float, changes: list[Change]) -> Situation:
        seconds = self.monitor.seconds(now - max(self.monitor.timing.recent_s), now)
        mean_s = sum(seconds) / len(seconds) if seconds else 0.0
        return Situation(
            at_s=now,
            changes=changes,
            rate_per_s=self._rate_per_s(now),
            moved_at_s=self._moved_at_s,
            extra_s=mean_s if self._extra_s is None else self._extra_s,
            rules=self._rules,
            is_followed_up=self._follows_up and self._knows_enough(now),
        )

    def _knows_enough(self, now: float) -> bool:
        """Whether a plan can be made for requests of after the last move alone."""
        start_s = now - self._window_s(now)
        is_later = self._moved_at_s is not None and start_s >= self._moved_at_s
        return is_later and len(self.monitor.requests(start_s, now)) >= LEAST_REQUESTS

    async def _planned(self, situation: Situation) -> Situation:
        """The situation with a proposal, or with why there is none."""
        try:
            proposal = await self.propose()
            target = self._mover.target(proposal.pools, proposal.thresholds)
            actions = self._mover.actions(target)
        except CascadiaError as error:
            logger.warning("no plan: %s; the old one stays", error)
            return msgspec.structs.replace(situation, failure=str(error))
        return msgspec.structs.replace(
            situation,
            proposal=proposal,
            move=self._mover.price(actions, self._stop_s),
        )

    async def _move(self, proposal: Proposal, window_from_s: float) -> str:
        began = self._clock()
        try:
            moved = await self._mover.move(proposal.pools, proposal.thresholds)
        except CascadiaError as error:
            return f"undone: {error}"
        finally:
            self._moved(self._clock(), window_from_s)
        self._measure(began, moved)
        return f"moved in {moved.seconds:.3f} s"

    def _measure(self, began: float, moved: MoveResult) -> None:
        """What this move has taken, and what it has cost the requests meanwhile."""
        stops = [step.seconds for step in moved.steps if isinstance(step.action, Stop)]
        self._stop_s = sum(stops) / len(stops) if stops else self._stop_s
        before = self.monitor.seconds(began - BEFORE_S, began)
        during = self.monitor.seconds(began, began + moved.seconds)
        if before and during:
            extra_s = sum(during) / len(during) - sum(before) / len(before)
            self._extra_s = max(0.0, extra_s)

    def _note(self, entry: LogEntry) -> LogEntry:
        self.entries.append(entry)
        logger.info("%s: %s", entry.decision.verdict, entry.decision.reason)
        if self._log is not None:
            try:
                with self._log.open("ab") as file:
                    file.write(msgspec.json.encode(entry) + b"\n")
            except OSError as error:
                # The decision stands, and a move may have been carried out.
                logger.warning("planner.log %s was not written: %s", self._log, error)
        return entry
