"""Where a prompt goes next: to which tier, and after a lost worker to which worker."""

import hashlib
import logging
from typing import Any

from cascadia_sglang.errors import (
    AttemptFailedError,
    RequestError,
    WorkerDiedError,
    WorkerError,
    WorkerLostError,
)
from cascadia_sglang.router.attempt import NOT_SENT, Attempt
from cascadia_sglang.router.poison_requests import MEMORY_S, RETURN_S, Assignment, Suspects
from cascadia_sglang.router.request import ActiveRequest
from cascadia_sglang.router.services import Services

# How long a request that has not begun waits for a worker of any tier.
NEWCOMER_S = 10.0
# Reasons of attempts that do not count against `max_attempts`.
_FREE = (*NOT_SENT, "worker_lost", "tier_unavailable")
_REFUSED = "a request with this body ended two workers; it is refused"

logger = logging.getLogger(__name__)


class Placing:
    """One prompt's way over the tiers and workers.

    Lost workers cost a prompt nothing: it runs again, and waits where no worker is left. Where a
    worker ended by its own error, the prompt is a suspect until it was answered.
    """

    def __init__(self, request: ActiveRequest, services: Services, attempts: list[Attempt]) -> None:
        """`attempts` are the prompt's so far; tiers that it passes over are added to them."""
        self.suspect = services.suspects.suspect_of(request.body)
        self.is_retry = False  # whether an attempt was lost
        self._request = request
        self._engine = services.engine
        self._suspects = services.suspects
        self._attempts = attempts
        self._max_attempts = services.config.max_attempts()
        self._left: list[int] = []
        self._is_pinned = False
        self._passed: set[int] = set()  # tiers that are noted as not available

    def begin(self, tiers: list[int], *, is_pinned: bool) -> None:
        """Set the tiers that may answer, in the order of the climb."""
        self._left = list(tiers)
        self._is_pinned = is_pinned

    async def next(self, *, may_wait: bool) -> Assignment | None:
        """Where the next attempt runs; notes the tiers that it passes over.

        Args:
            may_wait: whether to wait for a worker where no tier has one.

        Returns:
            None where no tier is available.

        Raises:
            TimeoutError: if the deadline passed, or the request was given up or aborted.
            RequestError: 500 if an equal request was named meanwhile.
        """
        suspect = self.suspect
        ready = [tier for tier in self._left if self._engine.has_worker(tier)]
        assignment: Assignment | None = None
        if not suspect.is_suspected:
            assignment = Assignment(ready[0]) if ready else self._passed_over()
        self._note_passed(assignment)
        if assignment is None and self._left and (may_wait or ready):
            async with self._request.limited(is_wait=True):
                assignment = await self._suspects.assign(suspect, self._left, self._wait_limit_s())
        if self.is_retry and self._suspects.knows_bodies:
            await self._check_named()
        return assignment

    def pass_over(self, tier_index: int) -> None:
        """Ask a tier no more: the prompt cannot be put to it."""
        self._left.remove(tier_index)

    def leave(self) -> None:
        """The attempt has ended, however it ended."""
        self._suspects.leave(self.suspect)

    def is_spent(self) -> bool:
        """Whether no further attempt may be made."""
        return self._tried() >= self._max_attempts

    async def answered(self, tier_index: int) -> None:
        """The tier gave an answer: its attempt ended no worker, and it is not asked again."""
        self._left = [tier for tier in self._left if tier > tier_index]
        if self.suspect.deaths:
            body = await self._body() if self._suspects.knows_bodies else None
            self._suspects.clear(self.suspect, body)

    def failed(self, error: WorkerError, tier_index: int) -> None:
        """Note an attempt that was lost or failed, or that no worker took."""
        has_worker = self._engine.has_worker(tier_index)
        if isinstance(error, WorkerLostError):
            self.is_retry = True
            if has_worker:
                self._attempts.append(Attempt(tier_index=tier_index, reason="worker_lost"))
            return
        if isinstance(error, AttemptFailedError):
            self._attempts.append(Attempt(tier_index=tier_index, reason="worker_failed"))
            above = sum(tier > tier_index for tier in self._left)
            # Each tier above is to have its attempt.
            has_worker = self._tried() + above >= self._max_attempts
        if has_worker:
            # It takes other requests, but not this one.
            self._left.remove(tier_index)
            self._passed.add(tier_index)
            self._attempts.append(Attempt(tier_index=tier_index, reason="tier_unavailable"))

    async def accuse(self, error: WorkerDiedError, samples: list[Any]) -> None:
        """Note that a worker died by its own error while it ran this prompt.

        Raises:
            RequestError: 500 if that names the prompt as the cause.
        """
        death = error.death
        self.suspect.rank = death.rids.index(error.rid)
        if not self._suspects.accuse(self.suspect, death):
            return
        self._suspects.name(await self._body())
        logger.error(
            "a request ended two workers (%s) and is refused for %.0f s: %d sample(s) of %s",
            ", ".join(death.worker_id for death in self.suspect.deaths),
            MEMORY_S,
            len(samples),
            self._engine.shape(samples[0]),
        )
        raise RequestError(500, "the request ended two workers and is not tried again")

    async def remember(self) -> None:
        """Keep the suspicion for the next request with the same body, should one come."""
        if self.suspect.is_suspected and (body := await self._body()) is not None:
            self._suspects.mark(body, self.suspect)

    async def _body(self) -> bytes | None:
        return await body_digest(self._request.http_request)

    def _wait_limit_s(self) -> float:
        """How long to wait for a worker: long with work done, not at all for one lost tier."""
        if self.is_retry or self.suspect.is_suspected or self._tried() > 0:
            return RETURN_S
        return 0.0 if self._is_pinned else NEWCOMER_S

    async def _check_named(self) -> None:
        body = await self._body()
        if body is not None and self._suspects.is_named(body):
            self.leave()
            raise RequestError(500, _REFUSED)

    def _passed_over(self) -> Assignment | None:
        """A ready worker of a tier that is passed over after too many faults."""
        for tier in self._left:
            worker_id = self._engine.passed_over(tier)
            if worker_id is not None:
                return Assignment(tier, worker_id)
        return None

    def _tried(self) -> int:
        """Attempts that count: what was not made, or was lost with its worker, does not."""
        return sum(attempt.reason not in _FREE for attempt in self._attempts)

    def _note_passed(self, assignment: Assignment | None) -> None:
        for tier in self._left:
            if assignment is not None and tier == assignment.tier_index:
                break
            if tier not in self._passed and not self._engine.has_worker(tier):
                self._passed.add(tier)
                self._attempts.append(Attempt(tier_index=tier, reason="tier_unavailable"))


async def known_body(suspects: Suspects, http_request: Any) -> bytes | None:
    """Digest of a request's body; None while none is remembered.

    Raises:
        RequestError: 500 if a request with this body has ended two workers.
    """
    if not suspects.knows_bodies:
        return None
    body = await body_digest(http_request)
    if body is not None and suspects.is_named(body):
        raise RequestError(500, _REFUSED)
    return body


async def body_digest(http_request: Any) -> bytes | None:
    """Of a request's path and exact body; None where there is none."""
    if http_request is None:
        return None
    try:
        body = await http_request.body()
    except RuntimeError:
        # It was read as a stream, which nothing keeps.
        return None
    path = str(http_request.scope.get("path", "")).encode()
    return hashlib.blake2b(path + b"\0" + body, digest_size=16).digest()
