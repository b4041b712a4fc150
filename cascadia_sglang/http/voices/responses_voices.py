"""The Responses API in several voices: the handler of the voice that answers writes the response.

SGLang's handler writes the prompt, asks the engine and reads the answer in one function. So a run
of it begins for every voice that is asked, and pauses where it asks the engine. The run of the
voice that answers gets the outputs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from cascadia_sglang.config.voices import Voice
from cascadia_sglang.engine.voice_views import VoiceHandlers, VoiceViews
from cascadia_sglang.errors import RequestError
from cascadia_sglang.http.trace import SCOPE_KEY, refusal
from cascadia_sglang.http.voices.begun_outputs import asked_voice, begin_outputs, is_pinned
from cascadia_sglang.http.voices.paused_handler import PausedHandler
from cascadia_sglang.sglang_state import ASKED_TIER, CHAT_SOURCE

if TYPE_CHECKING:
    import fastapi
    from sglang.srt.entrypoints.openai.protocol import ResponsesRequest
    from sglang.srt.entrypoints.openai.serving_responses import OpenAIServingResponses
    from sglang.srt.managers.io_struct import GenerateReqInput

# SGLang's `create_responses`, not hooked: (handler, request, HTTP request).
CreateResponses = Callable[["OpenAIServingResponses", Any, Any], Awaitable[Any]]

# What the handlers of all voices have together: answers are found by their ids.
_SHARED = (
    "response_store",
    "response_store_lock",
    "msg_store",
    "background_tasks",
    "tool_server",
    "supports_browsing",
    "supports_code_interpreter",
)

# Types of an input's parts that only some models take.
_MEDIA = frozenset({"input_image", "image_url", "input_audio", "audio_url", "video_url"})


class ResponsesVoices:
    """Chooses the handler of the Responses API by the voice that is asked, and that answers.

    With one voice it leaves everything to SGLang's own handler.
    """

    def __init__(self, views: VoiceViews) -> None:
        self._views = views
        self._voices = views.voices

    async def create(
        self,
        create: CreateResponses,
        handler: OpenAIServingResponses,
        request: ResponsesRequest,
        http_request: fastapi.Request | None,
    ) -> Any:
        """What SGLang's `create_responses` becomes.

        A request in the background, and one to a model whose conversation is SGLang's to build
        while it answers, stay in their first voice.

        Args:
            create: SGLang's `create_responses`.
            handler: of the first voice.

        Raises:
            fastapi.HTTPException: 400 where the pinned tier cannot be asked.
        """
        if self._voices.is_one or http_request is None:
            return await create(handler, request, http_request)
        voice = asked_voice(self._voices, http_request)
        if _holds_media(request) and not self._views.sees_media(voice):
            voice = self._seeing_voice(voice, http_request)
        voice_handler = self._own_handler(voice, handler, http_request)
        if request.background or voice_handler.use_harmony:
            trace = http_request.scope.get(SCOPE_KEY)
            if trace is not None:
                trace.is_voice_bound = True
            return await create(voice_handler, request, http_request)
        runs = ResponsesRuns(create, handler, request.model_copy(deep=True), http_request)
        answer = create(voice_handler, request, http_request)
        if not request.stream:
            return await self._response(runs, answer, voice_handler, voice)
        events = await answer
        return (
            self._events(runs, events, voice_handler, voice)
            if isinstance(events, AsyncGenerator)
            else events
        )

    async def _response(
        self,
        runs: ResponsesRuns,
        answer: Awaitable[Any],
        voice_handler: OpenAIServingResponses,
        voice: Voice,
    ) -> Any:
        async with runs:
            run = await self._answering(runs, runs.begin(answer), voice_handler, voice)
            return await run.response()

    async def _events(
        self,
        runs: ResponsesRuns,
        events: AsyncGenerator[str, None],
        voice_handler: OpenAIServingResponses,
        voice: Voice,
    ) -> AsyncGenerator[str, None]:
        async with runs:
            run = await self._answering(runs, runs.begin(events), voice_handler, voice)
            async for event in run.events():
                yield event

    async def _answering(
        self,
        runs: ResponsesRuns,
        first: PausedHandler,
        voice_handler: OpenAIServingResponses,
        voice: Voice,
    ) -> PausedHandler:
        """Ask the engine as the first run does; the run that goes on with the outputs."""
        adapted = await first.request()
        if adapted is None:
            return first
        CHAT_SOURCE.set(adapted, runs)
        ASKED_TIER.set(adapted, voice.tiers[0])
        begun = await begin_outputs(voice_handler.tokenizer_manager, adapted, runs.http_request)
        form = begun.form
        run: PausedHandler = first if form is None or form.chat is None else form.chat
        run.give(begun.outputs)
        return run

    def _own_handler(
        self, voice: Voice, first: OpenAIServingResponses, http_request: fastapi.Request
    ) -> OpenAIServingResponses:
        """The handler of a voice.

        Raises:
            fastapi.HTTPException: 400 where SGLang has none for it.
        """
        if voice.number == 0:
            return first
        try:
            return _handler_of(self._views.handlers(voice), first)
        except RequestError as error:
            raise refusal(http_request, error) from None

    def _seeing_voice(self, voice: Voice, http_request: fastapi.Request) -> Voice:
        """The first voice that sees media; the given one where none does.

        Raises:
            fastapi.HTTPException: 400 where a tier is pinned that does not, and others do.
        """
        seeing = next(filter(self._views.sees_media, self._voices.all), None)
        if seeing is None:
            return voice
        if is_pinned(http_request):
            message = f"tier {voice.name} takes text alone, and the input holds media"
            raise refusal(http_request, RequestError(400, message, "input"))
        return seeing


class ResponsesRuns:
    """The runs of SGLang's handlers for one request. Implements `prompt_forms.PromptSource`.

    Attributes:
        request: SGLang's, as it was before a handler changed it.
        http_request: that it came with.
    """

    def __init__(
        self,
        create: CreateResponses,
        first: OpenAIServingResponses,
        request: ResponsesRequest,
        http_request: fastapi.Request,
    ) -> None:
        """`first` is the handler of the first voice."""
        self.request = request
        self.http_request = http_request
        self._create = create
        self._first = first
        self._runs: list[PausedHandler] = []
        self._is_over = False

    async def __aenter__(self) -> ResponsesRuns:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_over = True
        await asyncio.gather(*(run.end() for run in self._runs))

    def begin(self, answer: Awaitable[Any] | AsyncGenerator[str, None]) -> PausedHandler:
        """Begin a run: of a handler that was called, or of the events of a stream."""
        run = PausedHandler(answer)
        self._runs.append(run)
        return run

    async def rendered(self, handlers: VoiceHandlers) -> tuple[GenerateReqInput, PausedHandler]:
        """The request as the handler of another voice asks the engine, and its run.

        Raises:
            RequestError: if the handler refuses it, or the request is over.
        """
        handler = _handler_of(handlers, self._first)
        if handler.use_harmony:
            raise RequestError(400, "its conversation is not built from the messages alone")
        request = self.request.model_copy(deep=True)
        answer: Any = self._create(handler, request, self.http_request)
        if request.stream:
            answer = await answer
            if not isinstance(answer, AsyncGenerator):
                raise RequestError(400, _message_of(answer))
        run = self.begin(answer)
        if self._is_over:
            # A prompt is made to its end, even where nobody waits for it any more.
            await run.end()
            raise RequestError(503, "the request is over")
        adapted = await run.request()
        if adapted is None:
            raise RequestError(400, _message_of(await run.response()))
        return adapted, run


def _handler_of(handlers: VoiceHandlers, first: OpenAIServingResponses) -> OpenAIServingResponses:
    """The handler of a voice other than the first, with what all share.

    Raises:
        RequestError: 400 where SGLang has none for it.
    """
    voice_handler = handlers.responses
    if voice_handler is None:
        name = handlers.manager.model_path
        raise RequestError(400, f"/v1/responses is not served by {name}")
    for name in _SHARED:
        setattr(voice_handler, name, getattr(first, name))
    return voice_handler


def _message_of(response: Any) -> str:
    """Of a response that refuses a request."""
    message: str = json.loads(response.body)["error"]["message"]
    return message


def _holds_media(request: ResponsesRequest) -> bool:
    """Whether an input holds anything beside text."""
    return not isinstance(request.input, str) and any(
        part.get("type") in _MEDIA
        for item in request.input
        for part in _parts(item)
        if isinstance(part, dict)
    )


def _parts(item: Any) -> list[Any]:
    content = item.get("content") if isinstance(item, dict) else getattr(item, "content", None)
    return content if isinstance(content, list) else []
