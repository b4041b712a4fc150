"""A prompt in the voices of the tiers that it visits: each form is made once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from sglang.srt.managers.io_struct import GenerateReqInput

from cascadia_sglang.config.voices import Voices
from cascadia_sglang.router.engine_protocol import Refusal

if TYPE_CHECKING:
    from sglang.srt.entrypoints.openai.serving_chat import OpenAIServingChat

    from cascadia_sglang.engine.voice_views import VoiceHandlers

# SGLang's `_convert_to_internal_request`, not hooked: (handler, chat request, HTTP request).
ConvertChat = Callable[["OpenAIServingChat", Any, Any], tuple[GenerateReqInput, Any]]


class PromptSource(Protocol):
    """Messages of which the handler of every voice makes a prompt of its own."""

    @property
    def request(self) -> Any:
        """SGLang's request with them, as no handler has changed it."""

    async def rendered(self, handlers: VoiceHandlers) -> tuple[GenerateReqInput, Any]:
        """The request to the engine that a voice's handler makes, and what reads the answer.

        Raises:
            Exception: if the voice cannot be asked this.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSource:
    """A chat before SGLang makes a prompt of it. Implements `PromptSource`.

    Attributes:
        request: a copy of SGLang's chat request, which the conversion would change.
        http_request: that it came with.
        convert: makes a prompt of it.
    """

    request: Any
    http_request: Any
    convert: ConvertChat

    async def rendered(self, handlers: VoiceHandlers) -> tuple[GenerateReqInput, Any]:
        """The prompt, and the chat request as the voice's handler left it."""
        return await asyncio.to_thread(self._converted, handlers.chat)

    def _converted(self, handler: OpenAIServingChat) -> tuple[GenerateReqInput, Any]:
        return self.convert(handler, self.request.model_copy(deep=True), self.http_request)


class Reach(Enum):
    """Which tiers a prompt may visit."""

    ALL = "all"
    SAME_TOKENIZER = "of the same tokenizer"
    SAME_VOICE = "of the same voice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A prompt in one voice.

    Attributes:
        samples: SGLang's requests, one for each answer.
        adapted: the request that they are of, as the voice's chat handler made it.
        chat: what reads the answer: the chat request as that handler left it, or the handler's
            run; None for what is no chat, and for the form in which the prompt came.
    """

    samples: list[GenerateReqInput]
    adapted: GenerateReqInput
    chat: Any = None


class PromptForms:
    """The forms of one prompt.

    Attributes:
        tier: in whose voice the prompt came.
        reach: which tiers it may visit.
        text: with which it came; None for what came as ids.
        chat: that is rendered for each voice; None for what is no chat.
    """

    def __init__(
        self,
        client_form: Form,
        tier: int,
        reach: Reach,
        chat: PromptSource | None,
        voices: Voices,
        blind: frozenset[int] = frozenset(),
    ) -> None:
        """`blind` are the numbers of voices that do not see what is in the prompt beside text."""
        self.tier = tier
        self.reach = reach
        self._blind = blind
        # The samples lose theirs once it is encoded.
        self.text = client_form.samples[0].text
        self.chat = chat
        self._voices = voices
        self._forms = {self.key(tier): client_form}
        self._making: dict[int, asyncio.Task[Form]] = {}

    @property
    def client_form(self) -> Form:
        """The form in which the prompt came."""
        return self._forms[self.key(self.tier)]

    def key(self, tier_index: int) -> int:
        """Equal for tiers that are asked the same: by their voice, or by their tokenizer alone."""
        voice = self._voices.of_tier(tier_index)
        return voice.tokenizer if self.chat is None else voice.number

    def refusal(self, tier_index: int) -> Refusal | None:
        """Why a tier cannot be asked this; None where it can."""
        client_voice, other = (self._voices.of_tier(tier) for tier in (self.tier, tier_index))
        if other.number in self._blind:
            return Refusal.TEXT_ONLY
        if self.reach is Reach.SAME_TOKENIZER and client_voice.tokenizer != other.tokenizer:
            return Refusal.OTHER_TOKENIZER
        if self.reach is Reach.SAME_VOICE and client_voice is not other:
            return Refusal.OTHER_VOICE
        return None

    def ready_form(self, tier_index: int) -> Form | None:
        """The form for a tier; None where it is not made yet."""
        form = self._forms.get(self.key(tier_index))
        return None if form is None or is_unencoded(form.samples[0]) else form

    async def made(self, tier_index: int, make: Callable[[], Awaitable[Form]]) -> Form:
        """The form for a tier, made where nobody has made it; who waits does not make it again.

        Raises:
            Exception: as `make` does.
        """
        form = self.ready_form(tier_index)
        if form is not None:
            return form
        key = self.key(tier_index)
        task = self._making.get(key)
        if task is None:
            task = self._making[key] = asyncio.ensure_future(self._kept(key, make))
            # A failure that nobody waits for any more is no error of the loop's.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        # One request that ends does not end what another waits for.
        return await asyncio.shield(task)

    async def _kept(self, key: int, make: Callable[[], Awaitable[Form]]) -> Form:
        form = self._forms[key] = await make()
        return form


def is_unencoded(sample: GenerateReqInput) -> bool:
    """Whether it is a text that can be encoded before a worker is asked."""
    return sample.input_ids is None and sample.text is not None and not sample.contains_mm_input()
