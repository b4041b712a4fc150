"""Counts every prompt for the page, and keeps the last requests without their content.

All of it is bounded: `REQUESTS` requests, `WINDOW` scores a tier, an hour of latency counts.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from cascadia_sglang.page.percentiles import LatencyHour
from cascadia_sglang.router.attempt import Attempt
from cascadia_sglang.router.events import PromptFinished, RequestRefused

REQUESTS = 200
WINDOW = 2_000
# Attempts of a request that are kept; retries may make many.
MOST_ATTEMPTS = 16
# Characters of a request's id that are kept.
MOST_RID = 64
# A flow's kind and its labels: `("climb", "small", "large", "below_threshold")`.
Flow = tuple[str, ...]


class LoggedAttempt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An attempt of a request.

    Attributes:
        start_s: since the request's arrival; None where it never ran.
        kept: tokens of its draft that are in the answer; None where it read none.
    """

    tier: str
    start_s: float | None
    seconds: float
    tokens: int
    cached_tokens: int
    kept: int | None
    score: float | None
    calibrated: bool | None
    reason: str


class LoggedRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A prompt that is over. No text is in it.

    Attributes:
        number: in the order of the ends, from 1.
        rid: the client's, or the one that the server gave it.
        at: arrival, Unix seconds.
        tier: that answered; None for an error.
        path: tiers in the order of their visits, joined by `>`.
        reason: why the answer went out, or `error_` and the HTTP status.
    """

    number: int
    rid: str
    at: float
    tier: str | None
    path: str
    reason: str
    input_tokens: int
    seconds: float
    ttft_s: float
    attempts: list[LoggedAttempt]


@dataclass(frozen=True, slots=True)
class EntryVisit:
    """A first visit to the first tier that came the cascade's own way.

    Attributes:
        score: None where the judge ended the answer early.
    """

    score: float | None
    input_tokens: int
    output_tokens: int


class TrafficLog:
    """Owns the counters and the windows; an observer of prompts.

    Args:
        tiers: their names, smallest first.
        clock, wall: seconds of the monotonic and of the Unix clock.
    """

    def __init__(
        self,
        tiers: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.flows: Counter[Flow] = Counter()
        self.latency = LatencyHour()
        self.scores: list[deque[float]] = [deque(maxlen=WINDOW) for _ in tiers]
        self.attempt_s: list[deque[float]] = [deque(maxlen=WINDOW) for _ in tiers]
        self.entries: deque[EntryVisit] = deque(maxlen=WINDOW)
        self._requests: deque[LoggedRequest] = deque(maxlen=REQUESTS)
        self._tiers = tiers
        self._clock = clock
        self._wall = wall
        self._number = 0

    @property
    def number(self) -> int:
        """Of the last request that is over."""
        return self._number

    def requests_after(self, number: int) -> list[LoggedRequest]:
        """The kept requests of later numbers, the oldest first."""
        newer: list[LoggedRequest] = []
        for request in reversed(self._requests):
            if request.number <= number:
                break
            newer.append(request)
        return newer[::-1]

    def prompt_arrived(self, at_s: float) -> None:
        """Count a prompt that came."""
        del at_s
        self.flows["arrived",] += 1

    def request_refused(self, event: RequestRefused) -> None:
        """Count a request that ended before it had any prompt."""
        self.flows["error", str(event.status)] += 1

    def prompt_finished(self, event: PromptFinished) -> None:
        """Count a prompt that is over, and keep it without its content."""
        names, flows, chosen = self._tiers, self.flows, event.chosen
        attempts = [attempt for attempt in event.attempts if attempt.reason != "too_long"]
        visited = [attempt.tier_index for attempt in attempts]
        input_tokens = self._count_attempts(attempts, chosen)
        path = ">".join(
            names[tier]
            for index, tier in enumerate(visited)
            if index == 0 or visited[index - 1] != tier
        )
        if visited:
            flows["entry", names[visited[0]]] += 1
        at = self._wall()
        if chosen is None:
            reason = f"error_{event.status}"
            flows["error", str(event.status)] += 1
        else:
            reason = chosen.reason
            flows["answer", names[chosen.tier_index], reason] += 1
            self.latency.note(at, path, event.ttft_s, event.seconds)
        if event.prompt.is_own_way and len(event.prompt.samples) == 1:
            self._learn(attempts, input_tokens)
        self._number += 1
        arrived_s = event.prompt.arrived_s
        self._requests.append(
            LoggedRequest(
                number=self._number,
                rid=str(event.prompt.sample.rid)[:MOST_RID],
                at=round(at - event.seconds, 3),
                tier=None if chosen is None else names[chosen.tier_index],
                path=path,
                reason=reason,
                input_tokens=input_tokens,
                seconds=round(event.seconds, 6),
                ttft_s=round(event.ttft_s, 6),
                attempts=[
                    self._logged(attempt, arrived_s) for attempt in event.attempts[-MOST_ATTEMPTS:]
                ],
            )
        )

    def _count_attempts(self, attempts: Sequence[Attempt], chosen: Attempt | None) -> int:
        """Count climbs and tokens; the prompt's tokens."""
        names, flows, input_tokens = self._tiers, self.flows, 0
        for index, attempt in enumerate(attempts):
            name = names[attempt.tier_index]
            if attempt.escalated and index + 1 < len(attempts):
                to = names[attempts[index + 1].tier_index]
                flows["climb", name, to, attempt.reason] += 1
            if attempt.judge_failed:
                flows["judge_error", name] += 1
            if not attempt.outputs:
                continue
            prompt = sum(output["meta_info"].get("prompt_tokens", 0) for output in attempt.outputs)
            input_tokens = attempt.outputs[0]["meta_info"].get("prompt_tokens", input_tokens)
            kind = "answered" if attempt is chosen else "discarded"
            flows["tokens", name, kind] += attempt.tokens
            flows["prompt_tokens", name] += prompt
            flows["cached_tokens", name] += attempt.cached_tokens
            if attempt.draft is not None:
                flows["draft_tokens", name] += attempt.draft_tokens
                flows["kept_tokens", name] += attempt.draft.kept
            self.attempt_s[attempt.tier_index].append(attempt.seconds)
        return input_tokens

    def _learn(self, attempts: Sequence[Attempt], input_tokens: int) -> None:
        """Take in the scores of whole answers, and what the first tier showed."""
        for attempt in attempts:
            if attempt.score is not None and attempt.is_whole:
                self.scores[attempt.tier_index].append(attempt.score)
        first = attempts[0] if attempts else None
        if first is None or first.tier_index != 0 or not first.outputs:
            return
        is_scored = first.score is not None and first.is_whole
        if is_scored or first.early_abort:
            score = None if first.early_abort else first.score
            self.entries.append(EntryVisit(score, max(1, input_tokens), max(1, first.longest)))

    def _logged(self, attempt: Attempt, arrived_s: float) -> LoggedAttempt:
        has_run = attempt.started_s > 0.0
        return LoggedAttempt(
            tier=self._tiers[attempt.tier_index],
            start_s=round(attempt.started_s - arrived_s, 6) if has_run else None,
            seconds=round(attempt.seconds, 6),
            tokens=attempt.tokens,
            cached_tokens=attempt.cached_tokens,
            kept=attempt.kept_tokens,
            score=attempt.score,
            calibrated=attempt.calibrated,
            reason=attempt.reason,
        )
