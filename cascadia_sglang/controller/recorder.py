"""Records the arrival and the end of every prompt for the controller."""

from collections.abc import Sequence
from typing import Any, Protocol

from cascadia_sglang.controller.monitor import Monitor, RecordedRequest, RecordedVisit


class RecordedAttempt(Protocol):
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
    def kept_tokens(self) -> int | None: ...
    @property
    def seconds(self) -> float: ...
    @property
    def outputs(self) -> list[dict[str, Any]]: ...


class RecordedPrompt(Protocol):
    """What is read of a prompt.

    Attributes:
        is_own_way: whether the cascade's own thresholds decide, so that scores compare.
    """

    @property
    def prompt_id(self) -> int: ...
    @property
    def is_own_way(self) -> bool: ...


class PromptEvent(Protocol):
    """What is read of a prompt's escalation, and of its end.

    Attributes:
        attempts: of the prompt so far.
        at_s: `time.monotonic()`.
        seconds: since the prompt came.
    """

    @property
    def prompt(self) -> RecordedPrompt: ...
    @property
    def attempts(self) -> Sequence[RecordedAttempt]: ...
    @property
    def at_s(self) -> float: ...
    @property
    def seconds(self) -> float: ...


class TrafficRecorder:
    """Hands the router's prompts to a monitor."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._climbing: dict[int, RecordedRequest] = {}  # by prompt id

    def prompt_arrived(self, at_s: float) -> None:
        """A prompt has come."""
        self._monitor.arrived(at_s)

    def prompt_escalated(self, event: PromptEvent) -> None:
        """A prompt goes on to a larger tier."""
        input_tokens, visits = _visits(event)
        prompt_id = event.prompt.prompt_id
        request = self._climbing.get(prompt_id)
        if request is not None:
            request.visits = visits
            return
        self._climbing[prompt_id] = request = RecordedRequest(
            at_s=event.at_s,
            seconds=event.seconds,
            input_tokens=input_tokens,
            visits=visits,
            is_open=True,
        )
        self._monitor.add(request)

    def prompt_finished(self, event: PromptEvent) -> None:
        """A prompt got its answer, or none."""
        input_tokens, visits = _visits(event)
        request = self._climbing.pop(event.prompt.prompt_id, None)
        if request is None:
            self._monitor.add(
                RecordedRequest(
                    at_s=event.at_s,
                    seconds=event.seconds,
                    input_tokens=input_tokens,
                    visits=visits,
                )
            )
        else:
            request.visits, request.is_open = visits, False
        self._monitor.ended(event.at_s, event.seconds)


def _visits(event: PromptEvent) -> tuple[int, tuple[RecordedVisit, ...]]:
    """The prompt's tokens as its first tier counts them, and the attempts that have outputs."""
    is_own_way = event.prompt.is_own_way
    visits = []
    input_tokens = 0
    for attempt in event.attempts:
        if not attempt.outputs:
            continue
        meta = attempt.outputs[0]["meta_info"]
        prompt_tokens = meta.get("prompt_tokens", 0)
        input_tokens = input_tokens or prompt_tokens
        visits.append(
            RecordedVisit(
                tier_index=attempt.tier_index,
                score=attempt.score if is_own_way and not attempt.early_abort else None,
                output_tokens=attempt.tokens + (attempt.kept_tokens or 0),
                seconds=attempt.seconds,
                prompt_tokens=prompt_tokens,
                cached_tokens=meta.get("cached_tokens", 0),
                ended_early=attempt.early_abort and is_own_way,
                kept_tokens=attempt.kept_tokens,
            )
        )
    return input_tokens, tuple(visits)
