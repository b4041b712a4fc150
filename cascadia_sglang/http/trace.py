"""State of one request that HTTP and router share; it lives in the ASGI scope."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import fastapi

from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.errors import RequestError
from cascadia_sglang.http.prediction import predicted_text
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.model_names import read_model
from cascadia_sglang.router.request import ResponseSummary

if TYPE_CHECKING:
    from sglang.srt.entrypoints.openai.serving_base import OpenAIServingBase

SCOPE_KEY = "cascadia"


@dataclass(slots=True)
class Trace:
    """The controls a request came with, and what it came to.

    Attributes:
        error: why it has no answer; what the client gets in place of what the handler writes.
        parses_calls: whether SGLang looks for tool calls in the answer.
        model: the name that the client sent.
        is_voice_bound: whether only tiers of the voice that writes its prompt may answer.
        on_stream: called when the cascade has the request and it is streamed.
        is_opened_early: whether the headers went out before an answer was there.
    """

    controls: Controls
    summary: ResponseSummary = field(default_factory=ResponseSummary)
    error: RequestError | None = None
    parses_calls: bool = False
    model: str = ""
    is_voice_bound: bool = False
    on_stream: Callable[[], None] | None = None
    is_opened_early: bool = False


def note_error(http_request: fastapi.Request | None, error: RequestError) -> None:
    """Note why a request gets no answer; the first error counts."""
    trace = None if http_request is None else http_request.scope.get(SCOPE_KEY)
    if trace is not None and trace.error is None:
        trace.error = error


def refusal(http_request: fastapi.Request | None, error: RequestError) -> fastapi.HTTPException:
    """Note the error; the exception that ends the request's handler."""
    note_error(http_request, error)
    return fastapi.HTTPException(status_code=error.status, detail=str(error))


def note_model(
    config: CascadeConfig,
    handler: OpenAIServingBase,
    model: str | None,
    raw_request: fastapi.Request,
) -> str:
    """Pin the tier that `model` names; a tier named by header wins over it.

    Returns:
        The name for SGLang's handlers.

    Raises:
        fastapi.HTTPException: 404 for an unknown name.
    """
    served_name = handler.tokenizer_manager.served_model_name
    try:
        named = read_model(model, served_name, config)
    except RequestError as error:
        raise refusal(raw_request, error) from None
    trace: Trace | None = raw_request.scope.get(SCOPE_KEY)
    if trace is not None:
        trace.model = model or ""
        if trace.controls.tier is None and named.tier is not None:
            trace.controls = dataclasses.replace(trace.controls, tier=named.tier)
    return named.for_handler


def with_noted_model(
    config: CascadeConfig,
    handler: OpenAIServingBase,
    request: Any,
    raw_request: fastapi.Request | None,
) -> Any:
    """An OpenAI request whose model is noted, under a name that SGLang's handlers read aright."""
    if raw_request is None:
        return request
    name = note_model(config, handler, request.model, raw_request)
    return request if name == request.model else request.model_copy(update={"model": name})


def named_tier(
    config: CascadeConfig, manager: Any, model: str | None, raw_request: fastapi.Request
) -> int | None:
    """The tier that a header or `model` names; None for the cascade.

    Raises:
        fastapi.HTTPException: 404 for an unknown name.
    """
    trace: Trace | None = raw_request.scope.get(SCOPE_KEY)
    if trace is not None and trace.controls.tier is not None:
        return trace.controls.tier
    try:
        return read_model(model, manager.served_model_name, config).tier
    except RequestError as error:
        raise refusal(raw_request, error) from None


def note_prediction(raw_request: fastapi.Request) -> None:
    """Note the answer that a chat request predicts.

    Raises:
        fastapi.HTTPException: 400 for a prediction of another form.
    """
    trace: Trace | None = raw_request.scope.get(SCOPE_KEY)
    try:
        text = predicted_text(raw_request)
    except RequestError as error:
        raise refusal(raw_request, error) from None
    if trace is not None and text:
        trace.controls = dataclasses.replace(trace.controls, prediction=text)


def note_calls(raw_request: fastapi.Request, parses_calls: bool) -> None:
    """Note whether SGLang looks for tool calls in the answer to a request."""
    trace: Trace | None = raw_request.scope.get(SCOPE_KEY)
    if trace is not None:
        trace.parses_calls = parses_calls


@contextlib.contextmanager
def as_http_error() -> Iterator[None]:
    """Let an error of ours out as one that SGLang's handlers answer with its status."""
    try:
        yield
    except RequestError as error:
        raise fastapi.HTTPException(status_code=error.status, detail=str(error)) from None


def sglang_error(
    error: RequestError,
    request: Any,
    http_request: fastapi.Request | None,
    is_visible: bool = False,
) -> Exception:
    """What SGLang's handlers turn into the route's own error shape, with the error's status.

    Args:
        is_visible: whether the client has some of the answer; an error event then ends it.
    """
    streamed = None
    if http_request is not None and getattr(request, "stream", False):
        streamed = http_request.url.path
    # The handler of streamed responses tells an error as its text, which has no other status.
    if streamed != "/v1/responses" and (
        error.status == 400 or is_visible or streamed == "/generate" or http_request is None
    ):
        plain = ValueError(str(error))
        plain.status_code = error.status  # type: ignore[attr-defined]
        return plain
    refusal: Exception = fastapi.HTTPException(status_code=error.status, detail=str(error))
    return refusal
