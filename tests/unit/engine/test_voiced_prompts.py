"""A prompt in the voices of its tiers: made once each, off the event loop where it is long."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from sglang.srt.managers.io_struct import GenerateReqInput

from cascadia_sglang.config.voices import Voice, Voices
from cascadia_sglang.engine.prompt_forms import ChatSource
from cascadia_sglang.engine.requests import prompt_of
from cascadia_sglang.engine.voiced_prompts import LONG_TEXT_CHARACTERS, VoicedPrompts
from cascadia_sglang.errors import RequestError, UnreadablePromptError
from cascadia_sglang.router.engine_protocol import Refusal
from cascadia_sglang.sglang_state import ASKED_TIER, CHAT_SOURCE, FORMS, VOICE_BOUND

# Two tokenizers: tiers 0 and 1 share one, and have templates of their own; tier 2 has the other.
VOICES = Voices(
    all=(
        Voice(number=0, name="a", tiers=(0,), tokenizer=0),
        Voice(number=1, name="b", tiers=(1,), tokenizer=0),
        Voice(number=2, name="c", tiers=(2,), tokenizer=1),
    )
)


class FakeManager:
    """Encodes a text as its letters' codes, each with a number added."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.async_dynamic_batch_tokenizer = None
        self.encoded: list[tuple[str, bool]] = []  # texts, and whether on the main thread

    def _set_default_priority(self, request: GenerateReqInput) -> None:
        request.priority = 0

    async def _tokenize_texts(self, text: str) -> tuple[list[int], None]:
        is_main = threading.current_thread() is threading.main_thread()
        self.encoded.append((text[:8], is_main))
        return [ord(letter) + self.number for letter in text], None


class FakeViews:
    """The managers of two tokenizers, and a chat handler, which is its voice's number."""

    voices = VOICES

    def __init__(self) -> None:
        self.managers = [FakeManager(0), FakeManager(0), FakeManager(100)]
        self.seeing: set[int] = set()

    def manager(self, tier_index: int) -> FakeManager:
        return self.managers[tier_index]

    def sees_media(self, voice: Voice) -> bool:
        return voice.number in self.seeing

    def handlers(self, voice: Voice) -> SimpleNamespace:
        return SimpleNamespace(chat=voice.number)


class FakeGuard:
    """Refuses ids from 1000 on, and chats that say so."""

    def check_text(self, input_ids: list[int], tier_index: int) -> None:
        if max(input_ids) >= 1000:
            raise RequestError(400, f"tier {tier_index} knows no such token", "text")

    def check(self, request: GenerateReqInput, tier_index: int) -> None:
        self.check_text(request.input_ids, tier_index)


def make() -> tuple[VoicedPrompts, FakeViews]:
    views = FakeViews()
    prompts = VoicedPrompts(VOICES, FakeGuard())  # type: ignore[arg-type]
    prompts.connect(views)  # type: ignore[arg-type]
    return prompts, views


class FakeChat(SimpleNamespace):
    """SGLang's chat request: the messages as one text."""

    def model_copy(self, deep: bool) -> "FakeChat":
        assert deep
        return FakeChat(**vars(self))


def convert(handler: int, chat: FakeChat, http_request: Any) -> tuple[GenerateReqInput, FakeChat]:
    """Renders a chat by a template that begins with the voice's number; changes the chat."""
    del http_request
    if chat.text == f"not {handler}":
        raise ValueError("the roles must alternate\nand more")
    ids = [handler, *map(ord, chat.text)]
    chat.seen = handler
    params = {"n": chat.n, "structural_tag": f"tag of {handler}"}
    return GenerateReqInput(input_ids=ids, rid=chat.rid, sampling_params=params), chat


def chat_request(text: str = "hi", n: int = 1, **fields: Any) -> GenerateReqInput:
    """A chat as SGLang's handler of the first voice converts it."""
    fields = {"logit_bias": None, "stop_token_ids": None, "custom_logit_processor": None, **fields}
    chat = FakeChat(text=text, n=n, rid="caller", **fields)
    source = ChatSource(request=chat.model_copy(deep=True), http_request=None, convert=convert)
    adapted, _ = convert(0, chat, None)
    adapted.received_time = 12.5
    CHAT_SOURCE.set(adapted, source)
    return adapted


# Texts


async def test_a_text_is_encoded_once_for_each_tokenizer() -> None:
    prompts, views = make()
    ((sample,),) = prompts.split(GenerateReqInput(text="ab", rid="x"), None)
    assert prompts.ready_sample(sample, 0) is None
    for _ in range(2):
        ids_by_tier = [(await prompts.all([sample], tier))[0].input_ids for tier in range(3)]
    assert ids_by_tier == [[97, 98], [97, 98], [197, 198]]
    assert [len(manager.encoded) for manager in views.managers] == [1, 0, 1]
    assert (sample.input_ids, sample.text) == ([97, 98], None)
    other = prompts.ready_sample(sample, 2)
    assert other is not None
    assert (other.rid, other.text) == ("x", None)
    assert await prompts.single(other, 0) is sample
    assert prompt_of(sample).token_ids == [97, 98]  # type: ignore[union-attr]
    assert prompt_of(other).token_ids == [197, 198]  # type: ignore[union-attr]


async def test_caches_know_a_prompt_by_each_tiers_own_tokens() -> None:
    """Also where the first tier's workers were chosen by them before."""
    prompts, _ = make()
    ((sample,),) = prompts.split(GenerateReqInput(text="ab", rid="x"), None)
    first, second = [prompt_of((await prompts.all([sample], tier))[0]) for tier in (0, 2)]
    assert first is not None
    assert second is not None
    assert (first.token_ids, second.token_ids) == ([97, 98], [197, 198])


async def test_a_chat_in_another_voice_is_checked_before_a_worker_sees_it() -> None:
    prompts, _ = make()
    ((sample,),) = prompts.split(chat_request(chr(1000)), None)
    with pytest.raises(UnreadablePromptError, match="tier 2 knows no such token"):
        await prompts.all([sample], 2)


async def test_a_text_for_a_pinned_tier_is_encoded_by_its_tokenizer_alone() -> None:
    prompts, views = make()
    ((sample,),) = prompts.split(GenerateReqInput(text="ab", rid="x"), 2)
    await prompts.all([sample], 2)
    assert sample.input_ids == [197, 198]
    assert prompts.ready_sample(sample, 0) is None
    assert views.managers[0].encoded == []


async def test_the_prompts_of_a_batch_have_forms_of_their_own() -> None:
    prompts, _ = make()
    first, second = prompts.split(
        GenerateReqInput(text=["ab", "c"], sampling_params={"n": 2}), None
    )
    forms = await prompts.all(first, 2)
    assert [form.input_ids for form in forms] == [[197, 198]] * 2
    assert [form.rid for form in forms] == [form.rid for form in first]
    assert (await prompts.single(second[1], 2)).input_ids == [199]
    assert (await prompts.single(second[1], 2)).rid == second[1].rid


@pytest.mark.parametrize("extra", [-1, 0])
async def test_a_long_text_is_encoded_in_a_thread(extra: int) -> None:
    prompts, views = make()
    text = "a" * (LONG_TEXT_CHARACTERS + extra)
    ((sample,),) = prompts.split(GenerateReqInput(text=text, rid="x"), None)
    for tier in (0, 2):
        await prompts.all([sample], tier)
        assert views.managers[tier].encoded == [("a" * 8, extra < 0)]


async def test_who_comes_while_it_is_made_waits_for_it() -> None:
    prompts, views = make()
    text = "a" * LONG_TEXT_CHARACTERS
    ((sample,),) = prompts.split(GenerateReqInput(text=text, rid="x"), None)
    first = asyncio.create_task(prompts.all([sample], 2))
    second = asyncio.create_task(prompts.all([sample], 2))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert len((await second)[0].input_ids) == LONG_TEXT_CHARACTERS
    assert len(views.managers[2].encoded) == 1


async def test_a_text_that_another_tier_does_not_know_is_unreadable_there() -> None:
    prompts, _ = make()
    ((sample,),) = prompts.split(GenerateReqInput(text=chr(950), rid="x"), None)
    await prompts.all([sample], 0)
    for _ in range(2):
        with pytest.raises(UnreadablePromptError, match="tier 2 knows no such token"):
            await prompts.all([sample], 2)


async def test_what_is_wrong_in_the_own_voice_is_raised_as_it_is() -> None:
    prompts, _ = make()
    ((sample,),) = prompts.split(GenerateReqInput(text=chr(1200), rid="x"), None)
    with pytest.raises(RequestError, match="tier 0 knows no such token"):
        await prompts.all([sample], 0)


# Chats


async def test_a_chat_is_rendered_once_for_each_voice() -> None:
    prompts, _ = make()
    request = chat_request()
    ((sample,),) = prompts.split(request, None)
    forms = [(await prompts.all([sample], tier))[0] for tier in (0, 1, 2)]
    assert [prompt.input_ids[0] for prompt in forms] == [0, 1, 2]
    assert [prompt.rid for prompt in forms] == ["caller"] * 3
    assert forms[2].received_time == 12.5
    assert forms[2].sampling_params["structural_tag"] == "tag of 2"
    assert await prompts.single(sample, 2) is forms[2]
    form = FORMS.expect(request).ready_form(2)
    assert form is not None
    assert form.chat.seen == 2
    assert form.adapted is forms[2]
    first_form = FORMS.expect(request).ready_form(0)
    assert first_form is not None
    assert first_form.chat is None


def test_a_text_is_alike_for_tiers_of_one_tokenizer_and_a_chat_for_those_of_one_voice() -> None:
    prompts, _ = make()
    ((text,),) = prompts.split(GenerateReqInput(text="ab"), None)
    ((chat,),) = prompts.split(chat_request(), None)
    assert [prompts.are_alike(text, 0, tier) for tier in range(3)] == [True, True, False]
    assert [prompts.are_alike(chat, 0, tier) for tier in range(3)] == [True, False, False]


async def test_the_samples_of_a_chat_keep_their_rids_in_every_voice() -> None:
    prompts, _ = make()
    (samples,) = prompts.split(chat_request(n=3), None)
    forms = await prompts.all(samples, 2)
    assert [form.rid for form in forms] == [sample.rid for sample in samples]
    assert len({sample.rid for sample in samples}) == 3
    assert (await prompts.single(samples[1], 2)) is forms[1]
    assert (await prompts.single(forms[1], 0)) is samples[1]


async def test_a_template_that_refuses_a_chat_makes_its_tiers_unreadable() -> None:
    prompts, _ = make()
    ((sample,),) = prompts.split(chat_request("not 2"), None)
    assert (await prompts.all([sample], 1))[0].input_ids[0] == 1
    with pytest.raises(UnreadablePromptError) as raised:
        await prompts.all([sample], 2)
    assert str(raised.value) == "the roles must alternate"


# Reach


@pytest.mark.parametrize(
    ("request_", "pinned", "readable"),
    [
        (GenerateReqInput(text="ab"), None, [True, True, True]),
        (GenerateReqInput(input_ids=[1, 2]), None, [True, True, False]),
        (GenerateReqInput(input_ids=[1, 2]), 2, [False, False, True]),
        (
            GenerateReqInput(text="ab", sampling_params={"stop_token_ids": [1]}),
            None,
            [True, True, False],
        ),
        (chat_request(), None, [True, True, True]),
        (chat_request(logit_bias={"1": 1.0}), None, [True, True, False]),
    ],
    ids=["text", "ids", "pinned-ids", "stop-ids", "chat", "chat-with-a-bias"],
)
def test_ids_reach_the_tiers_of_their_tokenizer(
    request_: GenerateReqInput, pinned: int | None, readable: list[bool]
) -> None:
    prompts, _ = make()
    ((sample,),) = prompts.split(request_, pinned)
    refusals = [prompts.refusal(sample, tier) for tier in range(3)]
    assert refusals == [None if can else Refusal.OTHER_TOKENIZER for can in readable]


def test_what_a_handler_of_one_voice_wrote_reaches_its_tiers_alone() -> None:
    prompts, _ = make()
    request = GenerateReqInput(text="rendered")
    VOICE_BOUND.set(request, True)
    ((sample,),) = prompts.split(request, None)
    refusals = [prompts.refusal(sample, tier) for tier in range(3)]
    assert refusals == [None, Refusal.OTHER_VOICE, Refusal.OTHER_VOICE]


@pytest.mark.parametrize(
    ("seeing", "refusals"),
    [
        ({1, 2}, [Refusal.TEXT_ONLY, None, Refusal.OTHER_VOICE]),
        ({2}, [Refusal.TEXT_ONLY, Refusal.TEXT_ONLY, None]),
        ({0}, [None, Refusal.TEXT_ONLY, Refusal.TEXT_ONLY]),
        # Where none does, it is SGLang's to refuse.
        (set(), [None, None, None]),
    ],
)
def test_a_text_with_an_image_is_for_the_first_tier_that_sees_it(
    seeing: set[int], refusals: list[Refusal | None]
) -> None:
    prompts, views = make()
    views.seeing = seeing
    ((sample,),) = prompts.split(GenerateReqInput(text="what is <image>?", image_data="x"), None)
    assert [prompts.refusal(sample, tier) for tier in range(3)] == refusals


async def test_a_chat_with_an_image_is_rendered_by_every_tier_that_sees_it() -> None:
    prompts, views = make()
    views.seeing = {1, 2}
    request = chat_request()
    request.image_data = ["x"]
    ASKED_TIER.set(request, 1)
    ((sample,),) = prompts.split(request, None)
    refusals = [prompts.refusal(sample, tier) for tier in range(3)]
    assert refusals == [Refusal.TEXT_ONLY, None, None]
    assert (await prompts.all([sample], 2))[0].input_ids[0] == 2
    assert await prompts.single(sample, 1) is sample


# One voice


async def test_in_a_cascade_of_one_voice_a_sample_is_what_every_tier_is_asked() -> None:
    voices = Voices.single(["a", "b"])
    views = FakeViews()
    prompts = VoicedPrompts(voices, FakeGuard())  # type: ignore[arg-type]
    prompts.connect(views)  # type: ignore[arg-type]
    ((sample,),) = prompts.split(GenerateReqInput(text="ab", rid="x"), None)
    assert FORMS.get(sample) is None
    assert await prompts.single(sample, 1) is sample
    assert sample.text == "ab"
    assert await prompts.all([sample], 1) == [sample]
    assert sample.input_ids == [97, 98]
    assert prompts.ready_sample(sample, 1) is sample
