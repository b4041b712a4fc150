"""Finds the request that ends workers by an error of their own.

Every prompt on a worker that died so is a suspect of that death. A suspect runs again with no other
suspect on its worker: the worker's second death names it, and an answer clears it. A named prompt
explains its deaths, so that nobody else is a suspect of them any more.
"""

import asyncio
from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

T = TypeVar("T")

# A suspect waits no longer for a worker without another suspect; then the death no longer counts.
ISOLATION_S = 30.0
# How long a request whose workers were all lost waits for one to come back.
RETURN_S = 30.0
# How long bodies are remembered: named ones are refused, suspected ones run alone.
MEMORY_S = 60.0
# Attempts of a dead worker that have not reported by then are not waited for.
_SETTLE_S = 1.0
_MAX_BODIES = 4096


class PoisonMetrics(Protocol):
    """Where named requests are counted."""

    def poisoned(self, outcome: Literal["named", "refused"]) -> None: ...


@dataclass(slots=True, eq=False)
class Death:
    """A worker's end by its own error.

    Attributes:
        worker_id: which worker died.
        rids: of the attempts that it held, the most likely culprit first.
        at: when it was seen, in the event loop's time.
        on_explained: called once the culprit is named.
        is_explained: whether the culprit is named.
        unheard: attempts that do not know of it yet.
    """

    worker_id: str
    rids: Sequence[str]
    at: float
    on_explained: Callable[[], None] = lambda: None
    is_explained: bool = False
    unheard: set[str] = field(default_factory=set)

    def explain(self) -> None:
        """The culprit is named: nobody else is suspected of this death."""
        if not self.is_explained:
            self.is_explained = True
            self.on_explained()


@dataclass(slots=True, eq=False)
class Suspect:
    """One prompt, and the deaths that it may have caused.

    Attributes:
        deaths: of workers that it ran on.
        rank: its position among the suspects of its last death; the lowest runs first.
        worker_id: where it runs alone now, without another suspect.
    """

    deaths: list[Death] = field(default_factory=list)
    rank: int = 0
    worker_id: str | None = None

    @property
    def is_suspected(self) -> bool:
        return any(not death.is_explained for death in self.deaths)


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where an attempt may run.

    Attributes:
        tier_index: the tier.
        worker_id: the one worker that may take it; None for any of the tier.
    """

    tier_index: int
    worker_id: str | None = None


@dataclass(slots=True, eq=False)
class _Waiter:
    suspect: Suspect
    tiers: Sequence[int]
    assignment: asyncio.Future[Assignment]


class Suspects:
    """Owns who is suspected, who is named, and which workers run a suspect."""

    def __init__(
        self,
        workers: Callable[[int], Sequence[str]],
        passed_over: Callable[[int], str | None],
        metrics: PoisonMetrics,
    ) -> None:
        """Take what finds workers.

        Args:
            workers: gives the ids of a tier's ready workers.
            passed_over: a ready worker of a tier that has too many faults; taken where no other is.
        """
        self._workers = workers
        self._passed_over = passed_over
        self._waiting: list[_Waiter] = []  # by rank
        self._held: dict[str, Suspect] = {}  # by worker id
        self._named: dict[bytes, float] = {}  # end of the refusal, by digest of the body
        self._marked: dict[bytes, tuple[float, list[Death]]] = {}
        self._is_scheduled = False
        self.counts = {"named": 0, "refused": 0}
        self._metrics = metrics

    @property
    def knows_bodies(self) -> bool:
        """Whether any body is remembered, so that a digest is worth computing."""
        return bool(self._named or self._marked)

    def is_named(self, body: bytes) -> bool:
        """Whether the request with this body is refused; counts it if so."""
        self._forget_old(_now())
        if body not in self._named:
            return False
        self._count("refused")
        return True

    def suspect_of(self, body: bytes | None) -> Suspect:
        """A new prompt of a request with this body, suspected of what the body was before."""
        self._forget_old(_now())
        marked = None if body is None else self._marked.get(body)
        return Suspect() if marked is None else Suspect(list(marked[1]))

    def accuse(self, suspect: Suspect, death: Death) -> bool:
        """Note that a worker died while this prompt ran on it; whether that names the prompt."""
        if suspect.is_suspected and suspect.worker_id == death.worker_id:
            for suspected_death in (*suspect.deaths, death):
                suspected_death.explain()
            suspect.deaths.append(death)
            self.schedule()
            return True
        if not death.is_explained:
            suspect.deaths.append(death)
            asyncio.get_running_loop().call_later(_SETTLE_S, self.schedule)
        return False

    def name(self, body: bytes | None) -> None:
        """Refuse requests with this body for a while; None where the request has none."""
        self._count("named")
        if body is not None:
            self._marked.pop(body, None)
            self._remember(self._named, body, _now() + MEMORY_S)

    def mark(self, body: bytes, suspect: Suspect) -> None:
        """Remember a suspect that ends before it could run again."""
        self._remember(self._marked, body, (_now() + MEMORY_S, list(suspect.deaths)))

    def clear(self, suspect: Suspect, body: bytes | None) -> None:
        """The prompt was answered, so that it is not the culprit."""
        suspect.deaths.clear()
        if body is not None:
            self._marked.pop(body, None)

    async def assign(
        self, suspect: Suspect, tiers: Sequence[int], limit_s: float = RETURN_S
    ) -> Assignment | None:
        """Wait for a worker of these tiers, the first tier that has one.

        A suspect waits for a worker without another suspect, and holds it until `leave`.

        Returns:
            None if no tier had a worker within `limit_s`.
        """
        assignment = await self._wait(
            suspect, tiers, ISOLATION_S if suspect.is_suspected else limit_s
        )
        if assignment is None and suspect.is_suspected:
            # Too many others came first, or no worker came back.
            suspect.deaths.clear()
            assignment = await self._wait(suspect, tiers, limit_s)
        return assignment

    def leave(self, suspect: Suspect) -> None:
        """The suspect's attempt has ended: its worker may take another suspect."""
        if suspect.worker_id is not None:
            if self._held.get(suspect.worker_id) is suspect:
                del self._held[suspect.worker_id]
            suspect.worker_id = None
            self.schedule()

    def schedule(self) -> None:
        """Assign workers in the event loop's next turn; call it whenever workers changed."""
        if self._waiting and not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._assign_waiting)

    async def _wait(
        self, suspect: Suspect, tiers: Sequence[int], limit_s: float
    ) -> Assignment | None:
        waiter = _Waiter(suspect, tiers, asyncio.get_running_loop().create_future())
        insort(self._waiting, waiter, key=lambda other: other.suspect.rank)
        self.schedule()
        try:
            async with asyncio.timeout(limit_s):
                return await waiter.assignment
        except TimeoutError:
            # The assignment may have come in the same turn.
            is_placed = waiter.assignment.done() and not waiter.assignment.cancelled()
            return waiter.assignment.result() if is_placed else None
        except asyncio.CancelledError:
            self.leave(suspect)
            raise
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def _assign_waiting(self) -> None:
        self._is_scheduled = False
        now = _now()
        unassigned = []
        for waiter in self._waiting:
            assignment = None if waiter.assignment.done() else self._find(waiter, now)
            if assignment is not None:
                waiter.assignment.set_result(assignment)
            elif not waiter.assignment.done():
                unassigned.append(waiter)
        self._waiting = unassigned

    def _find(self, waiter: _Waiter, now: float) -> Assignment | None:
        suspect = waiter.suspect
        if suspect.is_suspected and any(
            death.unheard and now - death.at < _SETTLE_S for death in suspect.deaths
        ):
            # A likelier culprit may still come.
            return None
        ready = [Assignment(t, worker_id) for t in waiter.tiers for worker_id in self._workers(t)]
        if not ready:
            others = [(t, self._passed_over(t)) for t in waiter.tiers]
            ready = [Assignment(t, worker_id) for t, worker_id in others if worker_id is not None]
        elif not suspect.is_suspected:
            return Assignment(ready[0].tier_index)
        if not suspect.is_suspected:
            return ready[0] if ready else None
        free = next(
            (assignment for assignment in ready if assignment.worker_id not in self._held), None
        )
        if free is not None and free.worker_id is not None:
            self._held[free.worker_id] = suspect
            suspect.worker_id = free.worker_id
        return free

    def _count(self, outcome: Literal["named", "refused"]) -> None:
        self.counts[outcome] += 1
        self._metrics.poisoned(outcome)

    @staticmethod
    def _remember(bodies: dict[bytes, T], body: bytes, value: T) -> None:
        bodies.pop(body, None)
        bodies[body] = value
        if len(bodies) > _MAX_BODIES:
            del bodies[next(iter(bodies))]

    def _forget_old(self, now: float) -> None:
        """Entries lie in the order of their ends."""
        while self._named and next(iter(self._named.values())) < now:
            del self._named[next(iter(self._named))]
        while self._marked and next(iter(self._marked.values()))[0] < now:
            del self._marked[next(iter(self._marked))]


def _now() -> float:
    return asyncio.get_running_loop().time()
