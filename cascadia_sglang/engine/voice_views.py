"""SGLang's tokenizer manager and handlers, as each voice of a cascade has them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sglang.srt.runtime_context import create_context, get_serving, use_context

from cascadia_sglang.config.voices import Voice, Voices
from cascadia_sglang.launch.arguments import TierArguments
from cascadia_sglang.launch.resolution import one_line_errors, resolve

if TYPE_CHECKING:
    from sglang.srt.entrypoints.openai.serving_chat import OpenAIServingChat
    from sglang.srt.entrypoints.openai.serving_responses import OpenAIServingResponses
    from sglang.srt.managers.tokenizer_manager import TokenizerManager
    from sglang.srt.server_args import ServerArgs

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceHandlers:
    """What SGLang has for a model, of a voice other than the first.

    Attributes:
        manager: a view of the tokenizer manager.
        chat: writes prompts of messages, and reads answers to them.
        responses: the same for the Responses API; None where SGLang cannot make it.
    """

    manager: TokenizerManager
    chat: OpenAIServingChat
    responses: OpenAIServingResponses | None


class VoiceViews:
    """Owns a view of the tokenizer manager for each voice, and the handlers on it.

    The first voice is that of the manager itself. SGLang makes its handlers.
    """

    def __init__(self, voices: Voices, arguments: TierArguments) -> None:
        self.voices = voices
        self._arguments = arguments
        self._resolved: dict[int, ServerArgs] = {}
        self._managers: list[TokenizerManager] = []
        self._handlers: dict[int, VoiceHandlers] = {}

    def arguments_of(self, voice: Voice) -> ServerArgs:
        """The resolved arguments of a voice other than the first.

        Raises:
            WorkerError: if SGLang refuses them; names the voice.
        """
        if voice.number not in self._resolved:
            with one_line_errors(voice.name):
                server_args = self._arguments.for_voice(voice)
                resolve(server_args)
            self._resolved[voice.number] = server_args
        return self._resolved[voice.number]

    def connect(self, manager: TokenizerManager) -> None:
        """Take the tokenizer manager, and make the views of it.

        SGLang's context is swapped meanwhile, so no other thread may use it: call it before the
        event loop runs.

        Raises:
            WorkerError: if a tokenizer or a template cannot be loaded; names the voice.
        """
        self._managers = [manager]
        for voice in self.voices.all[1:]:
            server_args = self.arguments_of(voice)
            with (
                one_line_errors(voice.name),
                use_context(create_context(server_args, role="tokenizer")),
            ):
                handlers = _handlers(manager, server_args)
            self._managers.append(handlers.manager)
            self._handlers[voice.number] = handlers

    def manager(self, tier_index: int) -> TokenizerManager:
        """The tokenizer manager as a tier's voice has it."""
        return self._managers[self.voices.of_tier(tier_index).number]

    def sees_media(self, voice: Voice) -> bool:
        """Whether a voice's model takes images or other media beside text."""
        is_multimodal: bool = self._managers[voice.number].model_config.is_multimodal
        return is_multimodal

    def tokenizers(self) -> list[Any]:
        """The tokenizer of every voice."""
        return [manager.tokenizer for manager in self._managers]

    def handlers(self, voice: Voice) -> VoiceHandlers:
        """SGLang's handlers of a voice other than the first."""
        return self._handlers[voice.number]


def _handlers(manager: TokenizerManager, server_args: ServerArgs) -> VoiceHandlers:
    """A view of the manager by other arguments, whose context is in use, and handlers on it."""
    from sglang.srt.entrypoints.engine import init_tokenizer_manager

    # SGLang's own steps at a start: the tokenizer, the template, the parsers.
    view, templates = init_tokenizer_manager(
        server_args, None, lambda arguments, _: manager_view(manager, arguments)
    )
    # The workers report the longest prompt of a tier; the manager knows the first tier's.
    del vars(view)["max_req_input_len"]
    return VoiceHandlers(
        manager=view,
        chat=view.serving_chat_class(view, templates),
        responses=_responses(view, templates),
    )


def _responses(manager: TokenizerManager, templates: Any) -> OpenAIServingResponses | None:
    """As SGLang makes it for its own server, which serves without it where that fails."""
    try:
        from sglang.srt.entrypoints.openai.serving_responses import OpenAIServingResponses

        return OpenAIServingResponses(manager, templates, enable_prompt_tokens_details=True)
    except Exception as error:  # noqa: BLE001  its libraries may raise anything
        logger.warning("/v1/responses cannot be served by %s: %r", manager.model_path, error)
        return None


def manager_view(manager: TokenizerManager, server_args: ServerArgs) -> TokenizerManager:
    """The tokenizer manager with another model's tokenizer, configuration and processor.

    All else is shared with the manager, in both directions: requests, locks, sockets, metrics.
    Call it while the context of these arguments is in use.
    """
    kind: Any = type(manager)

    class ManagerView(kind):  # type: ignore[misc]
        """Its own attributes are those that SGLang's steps below set; the others are shared."""

        def __init__(self) -> None:
            attributes = self.__dict__
            attributes["is_sealed"] = False
            self.server_args = server_args
            self.preferred_sampling_params = get_serving().preferred_sampling_params
            kind.init_model_config(self)
            kind.init_tokenizer_and_processor(self)
            attributes["is_sealed"] = True

        def __getattr__(self, name: str) -> Any:
            return getattr(manager, name)

        def __setattr__(self, name: str, value: Any) -> None:
            attributes = self.__dict__
            if name in attributes or not attributes["is_sealed"]:
                attributes[name] = value
            else:
                setattr(manager, name, value)

    return ManagerView()
