"""The Responses API: the handler of the voice that answers writes the response."""

import asyncio
import inspect
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import HTTPException

from cascadia_sglang.config.voices import Voice, Voices
from cascadia_sglang.engine.prompt_forms import Form, PromptForms, Reach
from cascadia_sglang.errors import RequestError
from cascadia_sglang.http.trace import SCOPE_KEY, Trace
from cascadia_sglang.http.voices.paused_handler import outputs_for
from cascadia_sglang.http.voices.responses_voices import ResponsesRuns, ResponsesVoices
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.request import ResponseSummary
from cascadia_sglang.sglang_state import ASKED_TIER, CHAT_SOURCE, FORMS, SUMMARY

TWO = Voices(
    all=(
        Voice(number=0, name="small", tiers=(0,), tokenizer=0),
        Voice(number=1, name="large", tiers=(1,), tokenizer=1),
    )
)
SHARED = ("response_store_lock", "msg_store", "background_tasks", "tool_server")
SUPPORTS = ("supports_browsing", "supports_code_interpreter")


class Request(SimpleNamespace):
    """SGLang's request of the Responses API."""

    def model_copy(self, deep: bool) -> "Request":
        assert deep
        return Request(**vars(self))


def request(**fields: Any) -> Request:
    return Request(**{"input": "hi", "background": False, "stream": False, **fields})


class Stage:
    """Two voices, SGLang's handlers of them, and a router whose tiers answer as they are told.

    Attributes:
        answers: number of the tier that answers.
        error: raised before the first output.
        refusing: names of handlers that refuse every request.
        seeing: numbers of the voices that see images.
        calls: requests that the handlers were called with, by name.
        ended: names of the runs that ended, and how.
    """

    def __init__(self, answers: int = 0, *, streamed: bool = False) -> None:
        self.answers = answers
        self.error: Exception | None = None
        self.refusing: set[str] = set()
        self.seeing: set[int] = set()
        self.calls: list[tuple[str, Request]] = []
        self.ended: list[tuple[str, str]] = []
        self.adapted: list[Any] = []
        self._outputs = ["half", "whole"] if streamed else ["whole"]
        manager = SimpleNamespace(generate_request=self._generate, model_path="a model")
        self.first, self.other = (
            SimpleNamespace(name=name, use_harmony=False, tokenizer_manager=manager)
            for name in ("first", "other")
        )
        for name in ("response_store", *SHARED, *SUPPORTS):
            setattr(self.first, name, object())
        self.views = SimpleNamespace(
            voices=TWO,
            handlers=lambda _: SimpleNamespace(responses=self.other, manager=manager),
            sees_media=lambda voice: voice.number in self.seeing,
        )
        self.voices = ResponsesVoices(self.views)  # type: ignore[arg-type]

    async def ask(self, responses_request: Request, tier: int | None = None) -> Any:
        """What `create_responses` returns; of a stream, its events."""
        raw: Any = SimpleNamespace(scope={SCOPE_KEY: Trace(Controls(tier=tier))})
        self.trace = raw.scope[SCOPE_KEY]
        return await self.voices.create(self.create, self.first, responses_request, raw)  # type: ignore[arg-type]

    async def create(self, handler: Any, responses_request: Request, raw: Any) -> Any:
        """SGLang's own: refuses at once, asks the engine at once or when its events are read."""
        self.calls.append((handler.name, responses_request))
        if handler.name in self.refusing:
            body = json.dumps({"error": {"message": f"{handler.name} refuses"}})
            return SimpleNamespace(body=body)
        adapted = SimpleNamespace(by=handler.name)
        responses_request.input = f"changed by {handler.name}"
        if responses_request.stream:
            return self._events(handler, adapted, raw)
        try:
            async for output in handler.tokenizer_manager.generate_request(adapted, raw):
                last = output
        except asyncio.CancelledError:
            self.ended.append((handler.name, "cancelled"))
            raise
        except ValueError as error:
            return f"{handler.name}: error {error}"
        self.ended.append((handler.name, "done"))
        return f"{handler.name}: {last}"

    async def _events(self, handler: Any, adapted: Any, raw: Any) -> AsyncIterator[str]:
        try:
            yield f"{handler.name}: created"
            async for output in handler.tokenizer_manager.generate_request(adapted, raw):
                yield f"{handler.name}: {output}"
            self.ended.append((handler.name, "done"))
        except (asyncio.CancelledError, GeneratorExit):
            self.ended.append((handler.name, "cancelled"))
            raise

    def _generate(self, adapted: Any, raw: Any) -> AsyncIterator[Any]:
        """As the hook on SGLang's does."""
        return outputs_for(adapted) or self._answer(adapted, raw)

    async def _answer(self, adapted: Any, raw: Any) -> AsyncIterator[Any]:
        del raw
        self.adapted.append(adapted)
        if self.error is not None:
            raise self.error
        source = CHAT_SOURCE.get(adapted)
        sample: Any = SimpleNamespace(text=None, input_ids=[1], contains_mm_input=lambda: False)
        tier = ASKED_TIER.get(adapted) or 0
        forms = PromptForms(Form(samples=[sample], adapted=adapted), tier, Reach.ALL, source, TWO)
        FORMS.set(adapted, forms)
        summary = ResponseSummary()
        SUMMARY.set(adapted, summary)
        if self.answers != tier:

            async def make() -> Form:
                assert source is not None
                other, chat = await source.rendered(self.views.handlers(TWO.of_tier(1)))
                return Form(samples=[sample], adapted=other, chat=chat)

            try:
                await forms.made(self.answers, make)
            except RequestError as error:
                # The tier is passed over; the first one's answer goes out.
                self.passed_over = str(error)
                self.answers = tier
        summary.tier_index = self.answers
        for output in self._outputs:
            yield output


async def test_the_first_voice_writes_its_own_responses() -> None:
    stage = Stage()
    assert await stage.ask(request()) == "first: whole"
    assert [name for name, _ in stage.calls] == ["first"]
    assert [adapted.by for adapted in stage.adapted] == ["first"]


async def test_the_voice_that_answers_writes_the_response() -> None:
    """From the request as it came: the first handler has changed its own."""
    stage = Stage(answers=1)
    assert await stage.ask(request()) == "other: whole"
    assert [name for name, _ in stage.calls] == ["first", "other"]
    assert CHAT_SOURCE.expect(stage.adapted[0]).request.input == "hi"
    assert sorted(stage.ended) == [("first", "cancelled"), ("other", "done")]
    assert all(getattr(stage.other, name) is getattr(stage.first, name) for name in SHARED)


@pytest.mark.parametrize(("answers", "name"), [(0, "first"), (1, "other")])
async def test_the_events_of_a_stream_are_those_of_the_voice_that_answers(
    answers: int, name: str
) -> None:
    stage = Stage(answers, streamed=True)
    events = await stage.ask(request(stream=True))
    assert [event async for event in events] == [
        f"{name}: {e}" for e in ("created", "half", "whole")
    ]
    assert (name, "done") in stage.ended


async def test_a_stream_that_nobody_reads_has_asked_nothing() -> None:
    stage = Stage(1, streamed=True)
    await stage.ask(request(stream=True))
    assert stage.adapted == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_stream_that_is_left_ends_all_runs() -> None:
    stage = Stage(1, streamed=True)
    events = await stage.ask(request(stream=True))
    assert await anext(events) == "other: created"
    await events.aclose()
    assert sorted(stage.ended) == [("first", "cancelled"), ("other", "cancelled")]
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("stream", [False, True])
async def test_what_the_first_handler_refuses_asks_no_engine(stream: bool) -> None:
    stage = Stage()
    stage.refusing = {"first"}
    response = await stage.ask(request(stream=stream))
    assert json.loads(response.body)["error"]["message"] == "first refuses"
    assert stage.adapted == []


@pytest.mark.parametrize("stream", [False, True])
async def test_a_voice_whose_handler_refuses_is_passed_over(stream: bool) -> None:
    stage = Stage(answers=1)
    stage.refusing = {"other"}
    answer = await stage.ask(request(stream=stream))
    if stream:
        answer = [event async for event in answer][-1]
    assert answer == "first: whole"
    assert "other refuses" in stage.passed_over


async def test_a_failure_before_the_first_output_is_the_handlers_to_answer() -> None:
    stage = Stage()
    stage.error = ValueError("too long")
    assert await stage.ask(request()) == "first: error too long"


async def test_a_request_that_is_given_up_ends_its_runs() -> None:
    stage = Stage(answers=1)
    stage.other.tokenizer_manager = SimpleNamespace(generate_request=_forever)
    task = asyncio.create_task(stage.ask(request()))
    for _ in range(10):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ("first", "cancelled") in stage.ended


@pytest.mark.parametrize("stream", [False, True])
async def test_a_run_that_begins_after_its_request_is_over_is_ended(stream: bool) -> None:
    """A prompt is made to its end for whoever waits for it, and here nobody does any more."""
    stage = Stage(streamed=stream)
    raw: Any = SimpleNamespace(scope={})
    asked_request: Any = request(stream=stream)
    created: list[Any] = []

    def create(*arguments: Any) -> Any:
        created.append(stage.create(*arguments))
        return created[-1]

    runs = ResponsesRuns(create, stage.first, asked_request, raw)  # type: ignore[arg-type]
    async with runs:
        pass
    with pytest.raises(RequestError):
        await runs.rendered(stage.views.handlers(TWO.of_tier(1)))
    assert asyncio.all_tasks() == {asyncio.current_task()}
    # One that has not begun would be reported as never awaited.
    assert [inspect.getcoroutinestate(c) for c in created] == [inspect.CORO_CLOSED]


async def _forever(adapted: Any, raw: Any) -> AsyncIterator[Any]:
    del adapted, raw
    await asyncio.sleep(3600)
    yield None


async def test_a_pinned_tier_is_asked_by_its_own_handler_alone() -> None:
    stage = Stage(answers=1)
    assert await stage.ask(request(), tier=1) == "other: whole"
    assert [name for name, _ in stage.calls] == ["other"]
    assert ASKED_TIER.get(stage.adapted[0]) == 1


@pytest.mark.parametrize("fields", [{"background": True}, {"harmony": True}], ids=str)
async def test_some_requests_stay_in_their_voice(fields: dict[str, bool]) -> None:
    stage = Stage()
    stage.first.use_harmony = fields.pop("harmony", False)
    assert await stage.ask(request(**fields)) == "first: whole"
    assert stage.trace.is_voice_bound
    assert CHAT_SOURCE.get(stage.adapted[0]) is None


async def test_a_voice_that_builds_its_conversation_while_it_answers_is_passed_over() -> None:
    stage = Stage(answers=1)
    stage.other.use_harmony = True
    assert await stage.ask(request()) == "first: whole"
    assert not stage.trace.is_voice_bound


async def test_a_voice_without_the_responses_api_is_a_400_where_it_is_pinned() -> None:
    stage = Stage(answers=1)
    stage.views.handlers = lambda _: SimpleNamespace(
        responses=None, manager=SimpleNamespace(model_path="m/large")
    )
    with pytest.raises(HTTPException) as raised:
        await stage.ask(request(), tier=1)
    assert raised.value.status_code == 400
    assert "/v1/responses is not served by m/large" in raised.value.detail
    assert await stage.ask(request()) == "first: whole"


# Images

IMAGE = [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]


async def test_an_input_with_an_image_begins_at_the_first_tier_that_sees_it() -> None:
    stage = Stage(answers=1)
    stage.seeing = {1}
    assert await stage.ask(request(input=IMAGE)) == "other: whole"
    assert [name for name, _ in stage.calls] == ["other"]
    with pytest.raises(HTTPException) as raised:
        await stage.ask(request(input=IMAGE), tier=0)
    assert "tier small takes text alone" in raised.value.detail


async def test_where_no_tier_sees_images_sglang_refuses_them_itself() -> None:
    stage = Stage()
    assert await stage.ask(request(input=IMAGE)) == "first: whole"


async def test_in_a_cascade_of_one_voice_sglangs_handler_is_left_alone() -> None:
    stage = Stage()
    views: Any = SimpleNamespace(voices=Voices.single(["a", "b"]))
    raw: Any = SimpleNamespace(scope={})
    asked_request: Any = request()
    made = ResponsesVoices(views)
    assert await made.create(stage.create, stage.first, asked_request, raw) == "first: whole"
    assert CHAT_SOURCE.get(stage.adapted[0]) is None
