"""The chat handler of the voice that answers makes the response."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from cascadia_sglang.config.voices import Voice, Voices
from cascadia_sglang.engine.prompt_forms import Form, PromptForms, Reach
from cascadia_sglang.http.trace import SCOPE_KEY, Trace
from cascadia_sglang.http.voices.chat_voices import ChatVoices
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.request import ResponseSummary
from cascadia_sglang.sglang_state import ASKED_TIER, CHAT_SOURCE, FORMS, OUTPUTS, SUMMARY

TWO = Voices(
    all=(
        Voice(number=0, name="small", tiers=(0,), tokenizer=0),
        Voice(number=1, name="large", tiers=(1,), tokenizer=1),
    )
)
OUTPUT = {"text": "4", "meta_info": {}}


class Handler:
    """SGLang's chat handler of a voice, over outputs that are given."""

    def __init__(self, name: str, outputs: list[Any], parses: bool = False) -> None:
        self.name = name
        self.tokenizer_manager = SimpleNamespace(generate_request=self._generate)
        self._outputs, self._parses = outputs, parses
        self.closed = 0

    def _tool_call_parsing_active(self, chat: Any) -> bool:
        del chat
        return self._parses

    async def _generate(self, adapted: Any, http_request: Any) -> AsyncIterator[Any]:
        del adapted, http_request
        try:
            for output in self._outputs:
                if isinstance(output, Exception):
                    raise output
                yield output
        finally:
            self.closed += 1


class Chat(SimpleNamespace):
    """SGLang's chat request."""

    def model_copy(self, deep: bool) -> "Chat":
        assert deep
        return Chat(**vars(self))


def voices(other: Handler, *, sees: bool = False) -> ChatVoices:
    """Two voices, the second of which sees images or does not."""
    handlers = SimpleNamespace(chat=other, manager="large's")
    views = SimpleNamespace(
        voices=TWO, handlers=lambda _: handlers, sees_media=lambda voice: sees and voice.number == 1
    )
    return ChatVoices(views)  # type: ignore[arg-type]


def http_request(tier: int | None = None) -> Any:
    return SimpleNamespace(scope={SCOPE_KEY: Trace(Controls(tier=tier))})


def convert(handler: Handler, chat: Chat, raw: Any) -> tuple[Any, Chat]:
    del raw
    chat.seen = handler.name
    return SimpleNamespace(by=handler.name), chat


def converted_chat(tier: int | None) -> tuple[Any, Any, ChatVoices]:
    """A converted chat."""
    made = voices(Handler("other", [], parses=True))
    raw = http_request(tier)
    chat = Chat(text="hi", input_ids=None, messages=[])
    adapted, _ = made.converted(convert, Handler("first", []), chat, raw)
    return adapted, raw, made


@pytest.mark.parametrize(("tier", "name"), [(None, "first"), (0, "first"), (1, "other")])
def test_a_chat_is_written_in_the_voice_of_the_tier_that_is_pinned(
    tier: int | None, name: str
) -> None:
    adapted, raw, _ = converted_chat(tier)
    assert adapted.by == name
    source = CHAT_SOURCE.expect(adapted)
    assert not hasattr(source.request, "seen")
    assert raw.scope[SCOPE_KEY].parses_calls


def test_a_chat_whose_prompt_is_ids_cannot_be_written_again() -> None:
    made = voices(Handler("other", []))
    chat = Chat(text="hi", input_ids=[1], messages=[])
    adapted, _ = made.converted(convert, Handler("first", []), chat, None)
    assert CHAT_SOURCE.get(adapted) is None


def adapted_for(tier: int) -> tuple[Any, Any]:
    """A request of the first voice that a tier answers, and its form in the other voice."""
    adapted = SimpleNamespace(samples=None, text=None, input_ids=[1])
    other = SimpleNamespace()
    summary = ResponseSummary()
    summary.tier_index = tier
    SUMMARY.set(adapted, summary)
    chat: Any = SimpleNamespace()
    forms = PromptForms(Form(samples=[adapted], adapted=adapted), 0, Reach.ALL, chat, TWO)
    sample = SimpleNamespace(input_ids=[2], text=None)
    forms._forms[1] = Form(samples=[sample], adapted=other, chat="other's chat")
    FORMS.set(adapted, forms)
    return adapted, other


async def outputs_of(adapted: Any) -> list[Any]:
    return [output async for output in OUTPUTS.expect(adapted)]


async def test_the_voice_that_answers_reads_the_answer() -> None:
    first, other = Handler("first", [OUTPUT, OUTPUT]), Handler("other", [])
    made = voices(other)
    request, others = adapted_for(tier=1)
    handler, adapted, chat = await made.answering(first, request, "chat", None)
    assert (handler, adapted, chat) == (other, others, "other's chat")
    assert await outputs_of(adapted) == [OUTPUT, OUTPUT]
    assert first.closed == 1


async def test_the_first_voice_reads_its_own_answers() -> None:
    first, other = Handler("first", [OUTPUT]), Handler("other", [])
    request, _ = adapted_for(tier=0)
    handler, adapted, chat = await voices(other).answering(first, request, "chat", None)
    assert (handler, adapted, chat) == (first, request, "chat")
    assert await outputs_of(adapted) == [OUTPUT]


async def test_a_failure_before_the_first_output_is_the_handlers_to_answer() -> None:
    first = Handler("first", [ValueError("too long")])
    request, _ = adapted_for(tier=0)
    made = voices(Handler("other", []))
    handler, adapted, _ = await made.answering(first, request, "chat", None)
    assert handler is first
    with pytest.raises(ValueError, match="too long"):
        await outputs_of(adapted)


async def test_a_failure_later_ends_the_outputs() -> None:
    first = Handler("first", [OUTPUT, ValueError("cut short")])
    request, _ = adapted_for(tier=0)
    made = voices(Handler("other", []))
    _, adapted, _ = await made.answering(first, request, "chat", None)
    with pytest.raises(ValueError, match="cut short"):
        await outputs_of(adapted)


@pytest.mark.parametrize(("tier", "manager"), [(None, "small's"), (0, "small's"), (1, "large's")])
def test_tokens_are_those_of_the_tier_that_is_named(tier: int | None, manager: str) -> None:
    other = Handler("other", [])
    made = voices(other)
    handler = SimpleNamespace(tokenizer_manager="small's", chat_serving="small's")
    tokenizing = made.tokenizing(handler, tier)
    assert tokenizing.tokenizer_manager == manager
    assert tokenizing.chat_serving == ("small's" if manager == "small's" else other)
    assert handler.tokenizer_manager == "small's"


# Images

IMAGE = SimpleNamespace(content=[SimpleNamespace(type="image_url"), SimpleNamespace(type="text")])


def test_a_chat_with_an_image_begins_at_the_first_tier_that_sees_it() -> None:
    made = voices(Handler("other", []), sees=True)
    assert made.see_media()
    chat = Chat(text="what is this?", input_ids=None, messages=[IMAGE])
    adapted, _ = made.converted(convert, Handler("first", []), chat, http_request())
    assert adapted.by == "other"
    assert ASKED_TIER.get(adapted) == 1
    plain = Chat(text="hi", input_ids=None, messages=[SimpleNamespace(content="hi")])
    adapted, _ = made.converted(convert, Handler("first", []), plain, http_request())
    assert (adapted.by, ASKED_TIER.get(adapted)) == ("first", 0)


def test_a_pinned_tier_that_sees_no_image_refuses_it() -> None:
    made = voices(Handler("other", []), sees=True)
    chat = Chat(text="what is this?", input_ids=None, messages=[IMAGE])
    with pytest.raises(ValueError, match="tier small takes text alone"):
        made.converted(convert, Handler("first", []), chat, http_request(0))


def test_where_no_tier_sees_images_sglang_refuses_them_itself() -> None:
    assert not voices(Handler("other", [])).see_media()
