"""The events of a prompt's life, and the observers of them."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from cascadia_sglang.errors import http_status
from cascadia_sglang.failure_counts import is_logged
from cascadia_sglang.router.attempt import Attempt
from cascadia_sglang.router.request import RequestPrompt

logger = logging.getLogger(__name__)

Event = TypeVar("Event")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PromptEscalated:
    """An attempt was not good enough, and the prompt goes on to a larger tier.

    Attributes:
        attempts: so far; the last one is the one that was not good enough.
        at_s: `time.monotonic()`.
    """

    prompt: RequestPrompt
    attempts: Sequence[Attempt]
    at_s: float

    @property
    def seconds(self) -> float:
        """Since the prompt came."""
        return self.at_s - self.prompt.arrived_s


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PromptFinished:
    """A prompt is over: with an answer, or with an error.

    Attributes:
        attempts: all of them, in order.
        chosen: the attempt whose outputs are the answer; None for an error.
        error: why the request has no answer; None for an answer.
        at_s: `time.monotonic()`.
        first_output_s: when the first output left, where the answer is streamed.
    """

    prompt: RequestPrompt
    attempts: Sequence[Attempt]
    chosen: Attempt | None
    error: BaseException | None
    at_s: float
    first_output_s: float | None = None

    @property
    def seconds(self) -> float:
        """Since the prompt came."""
        return self.at_s - self.prompt.arrived_s

    @property
    def ttft_s(self) -> float:
        """From the prompt's arrival to the first output."""
        first_s = self.at_s if self.first_output_s is None else self.first_output_s
        return first_s - self.prompt.arrived_s

    @property
    def status(self) -> int:
        """The HTTP status that the request ends with; 499 where its client hung up."""
        return 200 if self.error is None else http_status(self.error)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RequestRefused:
    """A request ended before it had any prompt."""

    error: Exception

    @property
    def status(self) -> int:
        """The HTTP status that the request ends with."""
        return http_status(self.error)


@runtime_checkable
class ArrivalObserver(Protocol):
    """Hears of every prompt that comes."""

    def prompt_arrived(self, at_s: float) -> None: ...


@runtime_checkable
class EscalationObserver(Protocol):
    """Hears of every prompt that goes on to a larger tier."""

    def prompt_escalated(self, event: PromptEscalated) -> None: ...


@runtime_checkable
class FinishObserver(Protocol):
    """Hears of every prompt that is over."""

    def prompt_finished(self, event: PromptFinished) -> None: ...


@runtime_checkable
class RefusalObserver(Protocol):
    """Hears of every request that is refused."""

    def request_refused(self, event: RequestRefused) -> None: ...


AnyObserver = ArrivalObserver | EscalationObserver | FinishObserver | RefusalObserver


class Observers:
    """Announces each event to those who have its method, in their order.

    An observer that fails costs no request, and the others still hear. Its 1st, 10th, 100th ...
    failure is logged.
    """

    def __init__(self, observers: Iterable[AnyObserver]) -> None:
        all_observers = tuple(observers)
        self._arrival = tuple(
            o.prompt_arrived for o in all_observers if isinstance(o, ArrivalObserver)
        )
        self._escalation = tuple(
            o.prompt_escalated for o in all_observers if isinstance(o, EscalationObserver)
        )
        self._finish = tuple(
            o.prompt_finished for o in all_observers if isinstance(o, FinishObserver)
        )
        self._refusal = tuple(
            o.request_refused for o in all_observers if isinstance(o, RefusalObserver)
        )
        self._failures: Counter[Any] = Counter()

    def arrived(self, at_s: float) -> None:
        """A prompt has come, at this `time.monotonic()`."""
        self._announce(self._arrival, at_s)

    def escalated(self, event: PromptEscalated) -> None:
        """A prompt goes on to a larger tier."""
        self._announce(self._escalation, event)

    def finished(self, event: PromptFinished) -> None:
        """A prompt is over."""
        self._announce(self._finish, event)

    def refused(self, event: RequestRefused) -> None:
        """A request was refused."""
        self._announce(self._refusal, event)

    def _announce(self, observers: tuple[Callable[[Event], None], ...], event: Event) -> None:
        for observe in observers:
            try:
                observe(event)
            except Exception:  # the request goes on, whatever an observer runs into
                self._failures[observe] += 1
                count = self._failures[observe]
                if is_logged(count):
                    logger.exception(
                        "an observer of the requests failed: %r, failure %d", observe, count
                    )
