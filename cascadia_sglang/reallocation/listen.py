"""The router's events, as the monitor takes them."""

import time
from collections.abc import Sequence
from typing import Any, Protocol

from cascadia_sglang.reallocation.monitor import Monitor, Seen, Visit


class AttemptSeen(Protocol):
    """What is read of an attempt."""

    @property
    def tier_index(self) -> int: ...
    @property
    def score(self) -> float | None: ...
    @property
    def early_abort(self) -> bool: ...
    @property
    def tokens(self) -> int: ...
    @property
    def kept(self) -> int | None: ...
    @property
    def seconds(self) -> float: ...
    @property
    def outputs(self) -> list[dict[str, Any]]: ...


class Listener:
    """Hands the requests of the router to a monitor."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._climbing: dict[int, Seen] = {}  # by the identity of their lists of attempts

    def arrived(self) -> None:
        """A prompt came."""
        self._monitor.arrived(time.monotonic())

    def escalated(self, attempts: Sequence[AttemptSeen], seconds: float, is_own_way: bool) -> None:
        """A prompt goes on to the next tier, `seconds` after it came.

        Args:
            attempts: so far; the same list every time.
            is_own_way: whether the cascade's own thresholds decided, so that scores compare.
        """
        input_tokens, visits = _visits(attempts, is_own_way)
        known = self._climbing.get(id(attempts))
        if known is not None:
            known.visits = visits
            return
        self._climbing[id(attempts)] = seen = Seen(
            at_s=time.monotonic(),
            seconds=seconds,
            input_tokens=input_tokens,
            visits=visits,
            is_open=True,
        )
        self._monitor.seen(seen)

    def finished(self, attempts: Sequence[AttemptSeen], seconds: float, is_own_way: bool) -> None:
        """A prompt got its answer, or none."""
        now = time.monotonic()
        input_tokens, visits = _visits(attempts, is_own_way)
        known = self._climbing.pop(id(attempts), None)
        if known is None:
            self._monitor.seen(
                Seen(at_s=now, seconds=seconds, input_tokens=input_tokens, visits=visits)
            )
        else:
            known.visits, known.is_open = visits, False
        self._monitor.ended(now, seconds)


def _visits(attempts: Sequence[AttemptSeen], is_own_way: bool) -> tuple[int, tuple[Visit, ...]]:
    """The prompt's tokens, and the attempts that have outputs."""
    visits = []
    input_tokens = 0
    for attempt in attempts:
        if not attempt.outputs:
            continue
        meta = attempt.outputs[0]["meta_info"]
        input_tokens = meta.get("prompt_tokens", input_tokens)
        visits.append(
            Visit(
                tier_index=attempt.tier_index,
                score=attempt.score if is_own_way and not attempt.early_abort else None,
                output_tokens=attempt.tokens + (attempt.kept or 0),
                seconds=attempt.seconds,
                cached_tokens=meta.get("cached_tokens", 0),
                ended_early=attempt.early_abort and is_own_way,
                kept_tokens=attempt.kept,
            )
        )
    return input_tokens, tuple(visits)
