"""The router's rules once more, plainly: no tasks, no futures, a clock that is told.

Written from what the documents say of a request's life. A request is running on a tier, waiting
for a worker, or over. Every event changes that at once, for all requests.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

THRESHOLD = 0.8
NEWCOMER_S, RETURN_S, ISOLATION_S, MEMORY_S = 10.0, 30.0, 30.0, 60.0
# Attempts that were not made, or were lost with their worker, cost nothing.
FREE = ("worker_lost", "tier_unavailable")
HUNG_UP = 499


@dataclass(frozen=True)
class Wish:
    """What a client asks for.

    Attributes:
        stream: None for an answer that is not streamed.
        body: of the HTTP request; None for a request that has none.
    """

    stream: Literal["default", "buffered", "commit", "direct"] | None = None
    degraded: bool = True
    deadline_s: float = math.inf
    tier: int | None = None
    body: bytes | None = None


@dataclass(eq=False)
class Death:
    worker_id: str
    explained: bool = False


@dataclass
class Try:
    """One attempt; what it wrote is complete, partial, or nothing."""

    tier: int
    reason: str = ""
    score: float | None = None
    tokens: int = 0
    complete: bool = False


@dataclass(eq=False)
class Prompt:
    """One request.

    Attributes:
        left: tiers that may still be asked.
        running: the tier that it runs on.
        alone_on: the worker that it holds, as a suspect.
        wait_until: when the waiting ends.
        refused: whether it was refused before it could be asked anywhere.
        status: 200 or that of the error, once it is over.
        chosen: whose answer goes out.
    """

    name: str
    wish: Wish
    deadline: float
    left: list[int]
    deaths: list[Death]
    tries: list[Try] = field(default_factory=list)
    passed: set[int] = field(default_factory=set)
    rank: int = 0
    is_retry: bool = False
    running: int | None = None
    alone_on: str | None = None
    tokens: int = 0
    visible: bool = False
    wait_until: float | None = None
    refused: bool = False
    status: int | None = None
    chosen: Try | None = None

    @property
    def suspected(self) -> bool:
        return any(not death.explained for death in self.deaths)

    @property
    def tried(self) -> int:
        return sum(one.reason not in FREE for one in self.tries)

    def leaves_as_written(self, tier: int, last: int) -> bool:
        """Whether the client sees each token of this tier as it is written."""
        if self.wish.stream is None:
            return False
        if self.wish.tier is not None or last == 0:
            # No other tier may answer.
            return True
        return self.wish.stream == "direct" or (self.wish.stream != "buffered" and tier == last)


class Reference:
    """All requests, all workers, and who is suspected of what."""

    def __init__(self, tiers: int, max_attempts: int) -> None:
        self.last, self.max_attempts = tiers - 1, max_attempts
        self.now = 0.0
        self.ready = {f"{tier}-0": tier for tier in range(tiers)}
        self.overloaded: set[int] = set()
        self.prompts: dict[str, Prompt] = {}
        self.queue: list[Prompt] = []  # of those that wait, by rank, then in order of arrival
        self.named: dict[bytes, float] = {}
        self.marked: dict[bytes, tuple[float, list[Death]]] = {}

    # Events

    def send(self, name: str, wish: Wish) -> Prompt:
        prompt = Prompt(
            name,
            wish,
            self.now + wish.deadline_s,
            list(range(self.last + 1)) if wish.tier is None else [wish.tier],
            self._suspicion(wish.body),
        )
        self.prompts[name] = prompt
        if self._is_named(wish.body):
            prompt.refused, prompt.status = True, 500
        else:
            self._go_on(prompt)
        self._give_places()
        return prompt

    def say(self, prompt: Prompt, *, committed: bool) -> None:
        assert prompt.running is not None
        prompt.tokens += 1
        may_commit = prompt.wish.stream == "commit" and prompt.wish.tier is None
        if prompt.leaves_as_written(prompt.running, self.last) or (may_commit and committed):
            prompt.visible = True

    def answer(self, prompt: Prompt, score: float | None, *, early_abort: bool = False) -> None:
        tier = self._stop(prompt)
        self._answered(prompt, tier)
        one = Try(tier, "", score, prompt.tokens + 1, complete=not early_abort)
        prompt.tries.append(one)
        if prompt.wish.tier is not None:
            one.reason = "pinned"
        elif tier == self.last:
            one.reason = "last_tier"
        elif prompt.visible:
            one.reason = "committed"
        elif early_abort:
            one.reason = "early_abort"
        elif prompt.wish.stream == "direct":
            one.reason = "unjudged"
        elif score is None:
            one.reason = "judge_error"
        else:
            one.reason = "accepted" if score >= THRESHOLD else "below_threshold"
        if one.reason in ("early_abort", "judge_error", "below_threshold"):
            self._go_on(prompt)
        else:
            self._end(prompt, 200, one)
        self._give_places()

    def fail(self, prompt: Prompt) -> None:
        """A living worker answers with an internal error."""
        tier = self._stop(prompt)
        if prompt.visible:
            self._end(prompt, 503)
        else:
            prompt.tries.append(Try(tier, "worker_failed"))
            above = sum(other > tier for other in prompt.left)
            # Each tier above is to have its attempt.
            if prompt.tried + above >= self.max_attempts:
                prompt.left.remove(tier)
                prompt.passed.add(tier)
                prompt.tries.append(Try(tier, "tier_unavailable"))
            self._go_on(prompt)
        self._give_places()

    def lose(self, worker_id: str, prompts: list[Prompt]) -> None:
        del self.ready[worker_id]
        for prompt in prompts:
            self._lost(prompt)
        self._give_places()

    def die(self, worker_id: str, prompts: list[Prompt]) -> None:
        """A worker ends by its own error; the prompts on it, the youngest first."""
        del self.ready[worker_id]
        death = Death(worker_id)
        for rank, prompt in enumerate(prompts):
            prompt.rank = rank
            if prompt.suspected and prompt.alone_on == worker_id:
                # The second one: it is the culprit of all its deaths.
                for one in (*prompt.deaths, death):
                    one.explained = True
                prompt.tries.append(Try(self._stop(prompt), "poison"))
                self._remember_named(prompt.wish.body)
                self._end(prompt, 500)
                continue
            if not death.explained:
                prompt.deaths.append(death)
            self._lost(prompt)
        self._give_places()

    def move(self, prompt: Prompt) -> None:
        """It has only waited at its worker, and runs again where there is room."""
        if prompt.running in self.overloaded:
            self._refused(prompt, self._stop(prompt))
        self._give_places()

    def add_worker(self, worker_id: str, tier: int) -> None:
        self.ready[worker_id] = tier
        self._give_places()

    def abort(self, prompt: Prompt) -> None:
        if prompt.running is None:
            self._end(prompt, 400)
        else:
            tier = self._stop(prompt)
            self._answered(prompt, tier)
            prompt.tries.append(Try(tier, "aborted", tokens=prompt.tokens, complete=True))
            self._end(prompt, 200, prompt.tries[-1])
        self._give_places()

    def hang_up(self, prompt: Prompt) -> None:
        self._end(prompt, HUNG_UP)
        self._give_places()

    def shut_down(self) -> None:
        for prompt in self.prompts.values():
            if prompt.status is None:
                self._end(prompt, 503)

    def pass_time(self, until: float) -> None:
        """Let deadlines and waits run out, in their order."""
        while True:
            going = [one for one in self.prompts.values() if one.status is None]
            ends = [(min(one.deadline, one.wait_until or math.inf), one) for one in going]
            at, _ = min(ends, key=lambda end: end[0], default=(math.inf, None))
            if at > until:
                break
            self.now = at
            for end, prompt in ends:
                if end == at and prompt.deadline == at:
                    self._late(prompt)
                elif end == at:
                    self._waited(prompt)
            self._give_places()
        self.now = until

    # Rules

    def _go_on(self, prompt: Prompt) -> None:
        """Ask the next tier, wait for a worker, or end."""
        if prompt.tried >= self.max_attempts:
            return self._degraded(prompt, 503)
        ready = [tier for tier in prompt.left if self._has(tier)]
        place = ready[0] if ready and not prompt.suspected else None
        for tier in prompt.left:
            if tier == place:
                break
            if tier not in prompt.passed and not self._has(tier):
                prompt.passed.add(tier)
                prompt.tries.append(Try(tier, "tier_unavailable"))
        if place is not None:
            return self._begin(prompt, place)
        has_answer = prompt.wish.degraded and self._best_rated(prompt.tries) is not None
        if prompt.left and (ready or not has_answer):
            is_newcomer = not (prompt.is_retry or prompt.suspected or prompt.tried)
            limit = RETURN_S
            if is_newcomer:
                limit = NEWCOMER_S if prompt.wish.tier is None else 0.0
            if prompt.suspected or limit:
                return self._wait(prompt, ISOLATION_S if prompt.suspected else limit)
        return self._no_place(prompt)

    def _wait(self, prompt: Prompt, seconds: float) -> None:
        prompt.wait_until = self.now + seconds
        place = sum(other.rank <= prompt.rank for other in self.queue)
        self.queue.insert(place, prompt)

    def _waited(self, prompt: Prompt) -> None:
        """No worker came in time."""
        self._leave_queue(prompt)
        if prompt.suspected:
            # Too many others came first: the deaths do not count any more.
            prompt.deaths.clear()
            self._wait(prompt, RETURN_S)
        else:
            self._no_place(prompt)

    def _give_places(self) -> None:
        """A suspect gets a worker without another suspect, anyone else any worker."""
        while assignments := list(self._assignments()):
            for prompt, worker_id in assignments:
                self._begin(prompt, self.ready[worker_id])

    def _assignments(self) -> Iterator[tuple[Prompt, str]]:
        """Workers for all that wait. A tier may refuse a prompt only after it has its worker."""
        while (assignment := self._next_place()) is not None:
            prompt, worker_id = assignment
            self._leave_queue(prompt)
            prompt.alone_on = worker_id if prompt.suspected else None
            yield assignment

    def _next_place(self) -> tuple[Prompt, str] | None:
        held = {one.alone_on for one in self.prompts.values()}
        for prompt in self.queue:
            ready = [w for tier in prompt.left for w, t in self.ready.items() if t == tier]
            free = [w for w in ready if not prompt.suspected or w not in held]
            if free:
                return prompt, free[0]
        return None

    def _begin(self, prompt: Prompt, tier: int) -> None:
        if prompt.is_retry and self._is_named(prompt.wish.body):
            self._end(prompt, 500)
        elif tier in self.overloaded:
            self._refused(prompt, tier)
        else:
            prompt.running, prompt.tokens = tier, 0

    def _no_place(self, prompt: Prompt) -> None:
        if prompt.is_retry and self._is_named(prompt.wish.body):
            self._end(prompt, 500)
        else:
            self._degraded(prompt, 503)

    def _refused(self, prompt: Prompt, tier: int) -> None:
        """The tier's workers hold as many attempts as they may."""
        prompt.tries.append(Try(tier, "overloaded"))
        self._degraded(prompt, 503)

    def _lost(self, prompt: Prompt) -> None:
        tier = self._stop(prompt)
        if prompt.visible:
            return self._end(prompt, 503)
        prompt.is_retry = True
        if self._has(tier):
            prompt.tries.append(Try(tier, "worker_lost"))
        return self._go_on(prompt)

    def _late(self, prompt: Prompt) -> None:
        """The deadline has come."""
        if prompt.running is None:
            self._leave_queue(prompt)
            top = self.last if prompt.wish.tier is None else prompt.wish.tier
            prompt.tries.append(Try(top, "deadline"))
            return self._degraded(prompt, 504)
        tier = self._stop(prompt)
        if prompt.wish.degraded:
            # It is ended as by the client, with what it has written.
            self._answered(prompt, tier)
            prompt.tries.append(Try(tier, "deadline", tokens=prompt.tokens))
            tries = prompt.tries[-1:] if prompt.visible else prompt.tries
            return self._degraded(prompt, 504, tries)
        if not prompt.visible:
            prompt.tries.append(Try(tier, "deadline"))
        return self._end(prompt, 504)

    def _degraded(self, prompt: Prompt, status: int, tries: list[Try] | None = None) -> None:
        """The best answer so far, where the client takes one that was not accepted."""
        best = self._best(prompt.tries if tries is None else tries)
        if best is None or not prompt.wish.degraded:
            return self._end(prompt, status)
        best.reason = "degraded"
        return self._end(prompt, 200, best)

    def _best(self, tries: list[Try]) -> Try | None:
        complete = [one for one in tries if one.complete]
        partial = [one for one in tries if one.tokens and not one.complete]
        return (
            self._best_rated(tries)
            or (complete[-1] if complete else None)
            or max(partial, key=lambda one: one.tokens, default=None)
        )

    @staticmethod
    def _best_rated(tries: list[Try]) -> Try | None:
        rated = [one for one in tries if one.complete and one.score is not None]
        return max(rated, key=lambda one: one.score or 0.0, default=None)

    def _answered(self, prompt: Prompt, tier: int) -> None:
        """Its attempt ended no worker, and the tier is not asked again."""
        prompt.left = [other for other in prompt.left if other > tier]
        if prompt.deaths:
            prompt.deaths.clear()
            if prompt.wish.body is not None:
                self.marked.pop(prompt.wish.body, None)

    def _stop(self, prompt: Prompt) -> int:
        tier = prompt.running
        assert tier is not None
        prompt.running, prompt.alone_on = None, None
        return tier

    def _leave_queue(self, prompt: Prompt) -> None:
        prompt.wait_until = None
        if prompt in self.queue:
            self.queue.remove(prompt)

    def _end(self, prompt: Prompt, status: int, chosen: Try | None = None) -> None:
        self._leave_queue(prompt)
        prompt.running, prompt.alone_on = None, None
        prompt.status, prompt.chosen = status, chosen
        if status != 200 and prompt.suspected and prompt.wish.body is not None:
            self.marked[prompt.wish.body] = (self.now + MEMORY_S, list(prompt.deaths))

    def _has(self, tier: int) -> bool:
        return tier in self.ready.values()

    # Bodies

    def _is_named(self, body: bytes | None) -> bool:
        return body is not None and self.named.get(body, -1.0) >= self.now

    def _remember_named(self, body: bytes | None) -> None:
        if body is not None:
            self.named[body] = self.now + MEMORY_S
            self.marked.pop(body, None)

    def _suspicion(self, body: bytes | None) -> list[Death]:
        until, deaths = self.marked.get(body, (-1.0, [])) if body is not None else (-1.0, [])
        return list(deaths) if until >= self.now else []
