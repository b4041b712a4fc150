"""OpenTelemetry spans: one over all attempts of a prompt, and a child span per attempt.

SGLang's own spans of an attempt are children of the attempt's. Names and attributes are those of
OpenTelemetry's conventions for generative AI; what these do not know begins with `cascadia.`.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from cascadia_sglang.config.settings import CASCADE_MODEL
from cascadia_sglang.failure_counts import is_logged
from cascadia_sglang.messages import AttemptOrder
from cascadia_sglang.router.attempt import Attempt
from cascadia_sglang.router.events import PromptFinished
from cascadia_sglang.router.request import RequestPrompt
from cascadia_sglang.version import __version__

logger = logging.getLogger(__name__)

# Of OpenTelemetry's semantic conventions, whose `gen_ai.*` names are used here.
CONVENTIONS = "1.37.0"
PROVIDER = "cascadia"
_CHATS = ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/chat")


class _PromptSpans:
    """The spans of one prompt that are open."""

    def __init__(self, span: Any, context: Any, operation: str) -> None:
        self.span = span
        self.context = context
        self.operation = operation
        self.running: Any = None  # of the attempt that runs now
        self.ended: list[tuple[Any, Attempt]] = []  # until the prompt's end says why they left


class Spans:
    """Owns the open spans, by prompt id. It makes none until it is opened.

    A prompt that comes while `is_on` is false passes none of this. A failure here costs no request.
    The 1st, 10th, 100th ... is logged.
    """

    def __init__(self, tiers: Sequence[str]) -> None:
        """`tiers` are their names, smallest first."""
        self._tiers = tiers
        self._tracer: Any = None
        self._is_traced: Callable[[], bool] = lambda: False
        self._open: dict[int, _PromptSpans] = {}
        self._failures = 0

    def open(self, is_on: Callable[[], bool]) -> None:
        """Make spans from now on.

        Args:
            is_on: whether SGLang traces at the moment; its level may change while it runs.
        """
        from opentelemetry import trace

        schema = f"https://opentelemetry.io/schemas/{CONVENTIONS}"
        self._tracer = trace.get_tracer("cascadia_sglang", __version__, schema_url=schema)
        self._is_traced = is_on

    @property
    def is_on(self) -> bool:
        """Whether prompts that come now are traced."""
        return self._is_traced()

    def begin(self, prompt: RequestPrompt) -> None:
        """A prompt has come."""
        self._safely(self._begin, prompt)

    def attempt(self, prompt: RequestPrompt, order: AttemptOrder) -> AttemptOrder:
        """An attempt begins; its order, with the span that SGLang's spans belong under."""
        spans = self._open.get(prompt.prompt_id)
        if spans is None:
            return order
        traceparent = self._safely(self._begin_attempt, spans, order)
        return msgspec.structs.replace(order, traceparent=traceparent)

    def attempt_ended(self, prompt: RequestPrompt, attempt: Attempt) -> None:
        """An attempt has a result. What becomes of it is known at the prompt's end."""
        spans = self._open.get(prompt.prompt_id)
        if spans is not None and spans.running is not None:
            spans.ended.append((spans.running, attempt))
            spans.running = None

    def attempt_failed(self, prompt: RequestPrompt, error: BaseException) -> None:
        """An attempt came to nothing."""
        spans = self._open.get(prompt.prompt_id)
        if spans is not None and spans.running is not None:
            self._safely(_end_failed, spans.running, error)
            spans.running = None

    def prompt_finished(self, event: PromptFinished) -> None:
        """Say what each attempt came to, and end all spans of the prompt."""
        spans = self._open.pop(event.prompt.prompt_id, None)
        if spans is not None:
            self._safely(self._end, spans, event)

    def _safely(self, act: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return act(*arguments)
        except Exception:  # the request goes on, whatever a tracer runs into
            self._failures += 1
            if is_logged(self._failures):
                logger.exception("a request lacks a span, failure %d", self._failures)
            return None

    def _begin(self, prompt: RequestPrompt) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        http_request = prompt.request.http_request
        headers: Mapping[str, str] = {} if http_request is None else http_request.headers
        path = "" if http_request is None else http_request.url.path
        operation = "chat" if path.startswith(_CHATS) else "text_completion"
        tier = prompt.controls.tier
        model = CASCADE_MODEL if tier is None else self._tiers[tier]
        span = self._tracer.start_span(
            f"{operation} {model}",
            context=TraceContextTextMapPropagator().extract(headers),
            start_time=_unix_ns(prompt.arrived_s),
            attributes=_request_attributes(operation, model),
        )
        context = trace.set_span_in_context(span)
        self._open[prompt.prompt_id] = _PromptSpans(span, context, operation)

    def _begin_attempt(self, spans: _PromptSpans, order: AttemptOrder) -> str | None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        tier = self._tiers[order.tier_index]
        spans.running = self._tracer.start_span(
            f"{spans.operation} {tier}",
            context=spans.context,
            attributes={
                **_request_attributes(spans.operation, tier),
                "cascadia.tier": tier,
                "cascadia.threshold": order.threshold,
            },
        )
        carrier: dict[str, str] = {}
        context = trace.set_span_in_context(spans.running)
        TraceContextTextMapPropagator().inject(carrier, context)
        return carrier.get("traceparent")

    def _end(self, spans: _PromptSpans, event: PromptFinished) -> None:
        for span, attempt in spans.ended:
            span.set_attributes(self._attempt_attributes(attempt))
            span.end(end_time=_unix_ns(attempt.started_s + attempt.seconds))
        chosen, span = event.chosen, spans.span
        span.set_attribute("cascadia.attempts", len(event.attempts))
        span.set_attribute("gen_ai.response.id", str(event.prompt.sample.rid))
        if chosen is not None:
            span.set_attributes(self._attempt_attributes(chosen))
            span.end(end_time=_unix_ns(event.at_s))
        else:
            _end_failed(span, event.error or RuntimeError(), event.status)

    def _attempt_attributes(self, attempt: Attempt) -> dict[str, Any]:
        tier = self._tiers[attempt.tier_index]
        metas = [output["meta_info"] for output in attempt.outputs]
        reasons = [(meta.get("finish_reason") or {}).get("type") for meta in metas]
        attributes = {
            "gen_ai.response.model": tier,
            "gen_ai.response.finish_reasons": [str(reason) for reason in reasons if reason],
            "gen_ai.usage.input_tokens": metas[0].get("prompt_tokens") if metas else None,
            "gen_ai.usage.output_tokens": attempt.tokens + (attempt.kept_tokens or 0),
            "cascadia.tier": tier,
            "cascadia.score": attempt.score,
            "cascadia.calibrated": attempt.calibrated,
            "cascadia.reason": attempt.reason,
            "cascadia.kept_tokens": attempt.kept_tokens,
            "cascadia.cached_tokens": attempt.cached_tokens,
        }
        return {name: value for name, value in attributes.items() if value is not None}


def _request_attributes(operation: str, model: str) -> dict[str, str]:
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": model,
    }


def _end_failed(span: Any, error: BaseException, status: int | None = None) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("error.type", type(error).__name__ if status is None else str(status))
    span.set_status(Status(StatusCode.ERROR, str(error)))
    span.end()


def _unix_ns(monotonic_s: float) -> int:
    """A time of the monotonic clock as OpenTelemetry has it."""
    return time.time_ns() - int((time.monotonic() - monotonic_s) * 1e9)
