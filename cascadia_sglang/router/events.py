"""What the router announces of every prompt, and who hears of it."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from cascadia_sglang.errors import http_status
from cascadia_sglang.router.attempt import Attempt
from cascadia_sglang.router.request import RequestPrompt

logger = logging.getLogger(__name__)

Event = TypeVar("Event")
Observer = Callable[[Event], None]


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


class PromptObserver(Protocol):
    """Hears of a prompt from its arrival to its end."""

    def prompt_arrived(self, prompt: RequestPrompt) -> None: ...

    def prompt_escalated(self, event: PromptEscalated) -> None: ...

    def prompt_finished(self, event: PromptFinished) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Observers:
    """Who hears of each event, in this order.

    An observer that fails costs no request: its first failure is logged, and the others still hear.
    """

    on_arrival: tuple[Observer[RequestPrompt], ...] = ()
    on_escalation: tuple[Observer[PromptEscalated], ...] = ()
    on_finish: tuple[Observer[PromptFinished], ...] = ()
    on_refusal: tuple[Observer[RequestRefused], ...] = ()
    _failed: set[Any] = field(default_factory=set, init=False)

    def arrived(self, prompt: RequestPrompt) -> None:
        """A prompt has come."""
        self._announce(self.on_arrival, prompt)

    def escalated(self, event: PromptEscalated) -> None:
        """A prompt goes on to a larger tier."""
        self._announce(self.on_escalation, event)

    def finished(self, event: PromptFinished) -> None:
        """A prompt is over."""
        self._announce(self.on_finish, event)

    def refused(self, event: RequestRefused) -> None:
        """A request was refused."""
        self._announce(self.on_refusal, event)

    def _announce(self, observers: tuple[Observer[Event], ...], event: Event) -> None:
        for observe in observers:
            try:
                observe(event)
            except Exception:  # the request goes on, whatever an observer runs into
                if observe not in self._failed:
                    self._failed.add(observe)
                    logger.exception("an observer of the requests failed: %r", observe)
