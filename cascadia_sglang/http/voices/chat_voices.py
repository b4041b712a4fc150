"""Chats in several voices: the handler of the voice that answers reads the answer.

SGLang's chat handler makes a prompt of the messages, and later the response of the model's answer.
Which tier answers is known in between. So the outputs are begun here, and the handler of the voice
that they come from gets them with its own form of the request.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from cascadia_sglang.config.voices import Voice
from cascadia_sglang.engine.prompt_forms import ChatSource, ConvertChat
from cascadia_sglang.engine.voice_views import VoiceViews
from cascadia_sglang.http.trace import note_calls
from cascadia_sglang.http.voices.begun_outputs import asked_voice, begin_outputs, is_pinned
from cascadia_sglang.sglang_state import ASKED_TIER, CHAT_SOURCE, OUTPUTS

if TYPE_CHECKING:
    import fastapi
    from sglang.srt.entrypoints.anthropic.serving import AnthropicServing
    from sglang.srt.entrypoints.openai.protocol import ChatCompletionRequest
    from sglang.srt.entrypoints.openai.serving_chat import OpenAIServingChat
    from sglang.srt.managers.io_struct import GenerateReqInput

# Types of a message's parts that only some models take, as SGLang names them.
_MEDIA = frozenset({"image_url", "video_url", "audio_url"})

# What SGLang's handlers make a response of: the handler, its request, and the chat.
Answering = tuple["OpenAIServingChat", "GenerateReqInput", "ChatCompletionRequest"]


class ChatVoices:
    """Chooses the chat handler by the voice of the tier that is asked, and of the one that answers.

    With one voice it leaves everything to SGLang's own handler.
    """

    def __init__(self, views: VoiceViews) -> None:
        self._views = views
        self._voices = views.voices

    def converted(
        self,
        convert: ConvertChat,
        handler: OpenAIServingChat,
        chat: ChatCompletionRequest,
        http_request: fastapi.Request | None,
    ) -> tuple[GenerateReqInput, ChatCompletionRequest]:
        """A chat as SGLang's own request, in the voice of the tier that is asked first.

        A chat with images begins at the first tier that sees them.

        Args:
            convert: SGLang's `_convert_to_internal_request`.
            handler: of the first voice.

        Raises:
            ValueError: if the tier that is pinned does not see what is in the messages.
        """
        if self._voices.is_one:
            adapted, chat = convert(handler, chat, http_request)
            if http_request is not None:
                note_calls(http_request, handler._tool_call_parsing_active(chat))
            return adapted, chat
        voice = asked_voice(self._voices, http_request)
        if self._is_blind(voice, chat) and not is_pinned(http_request):
            voice = self._seeing_voice()
        voice_handler = self._handler(voice, handler)
        source = ChatSource(
            request=chat.model_copy(deep=True), http_request=http_request, convert=convert
        )
        if self._is_blind(voice, chat):
            raise ValueError(f"tier {voice.name} takes text alone, and the messages hold media")
        adapted, chat = convert(voice_handler, chat, http_request)
        ASKED_TIER.set(adapted, voice.tiers[0])
        if source.request.input_ids is None:
            CHAT_SOURCE.set(adapted, source)
        if http_request is not None:
            # Any of them may answer, and none of them needs a long piece of text at once.
            handlers = [self._handler(voice, handler) for voice in self._voices.all]
            note_calls(
                http_request,
                any(candidate._tool_call_parsing_active(chat) for candidate in handlers),
            )
        return adapted, chat

    async def answering(
        self,
        handler: OpenAIServingChat,
        adapted: GenerateReqInput,
        chat: ChatCompletionRequest,
        http_request: fastapi.Request | None,
    ) -> Answering:
        """The handler that makes the response, with its request, whose outputs have begun.

        Args:
            handler: of the first voice, as are `adapted` and `chat` where no tier is pinned.
        """
        begun = await begin_outputs(handler.tokenizer_manager, adapted, http_request)
        if begun.tier_index is not None:
            handler = self._handler(self._voices.of_tier(begun.tier_index), handler)
        if begun.form is not None and begun.form.chat is not None:
            adapted, chat = begun.form.adapted, begun.form.chat
        OUTPUTS.set(adapted, begun.outputs)
        return handler, adapted, chat

    def tokenizing(self, handler: Any, tier_index: int | None) -> Any:
        """SGLang's handler of `/tokenize` or `/detokenize` with a tier's tokenizer and template."""
        voice = self._voices.of_tier(tier_index or 0)
        if voice.number == 0:
            return handler
        handlers = self._views.handlers(voice)
        voice_handler = copy.copy(handler)
        voice_handler.tokenizer_manager = handlers.manager
        if hasattr(voice_handler, "chat_serving"):
            voice_handler.chat_serving = handlers.chat
        return voice_handler

    def counting(self, handler: AnthropicServing, tier_index: int | None) -> AnthropicServing:
        """SGLang's handler of Anthropic's routes, to count a tier's tokens of a message."""
        voice = self._voices.of_tier(tier_index or 0)
        if voice.number == 0:
            return handler
        voice_handler = copy.copy(handler)
        voice_handler.openai_serving_chat = self._views.handlers(voice).chat
        return voice_handler

    def chat_of(self, handler: OpenAIServingChat, tier_index: int | None) -> OpenAIServingChat:
        """The chat handler of a tier; of the first voice where none is named."""
        return self._handler(self._voices.of_tier(tier_index or 0), handler)

    def take_inline_system(self) -> bool:
        """Whether every voice but the first takes a system message amid the others."""
        others = self._voices.all[1:]
        return all(self._views.handlers(voice).chat.supports_inline_system for voice in others)

    def see_media(self) -> bool:
        """Whether a voice takes images or other media, so that a chat with some can be asked."""
        return not self._voices.is_one and any(map(self._views.sees_media, self._voices.all))

    def _seeing_voice(self) -> Voice:
        seeing = filter(self._views.sees_media, self._voices.all)
        return next(seeing, self._voices.all[0])

    def _is_blind(self, voice: Voice, chat: ChatCompletionRequest) -> bool:
        """Whether messages hold what a voice's model does not see."""
        return _holds_media(chat) and not self._views.sees_media(voice)

    def _handler(self, voice: Voice, first: OpenAIServingChat) -> OpenAIServingChat:
        return first if voice.number == 0 else self._views.handlers(voice).chat


def _holds_media(chat: ChatCompletionRequest) -> bool:
    """Whether messages hold anything beside text."""
    return any(
        getattr(part, "type", "text") in _MEDIA
        for message in chat.messages
        if isinstance(message.content, list)
        for part in message.content
    )
