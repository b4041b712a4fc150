"""Which requests hold token ids: they mean something to one tokenizer alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sglang.srt.managers.io_struct import GenerateReqInput

if TYPE_CHECKING:
    from cascadia_sglang.engine.prompt_forms import PromptSource

# Of SGLang's own request. What a session holds are ids, and a logit processor acts on ids.
REQUEST_FIELDS = (
    "input_ids",
    "token_ids_logprob",
    "session_params",
    "custom_logit_processor",
    "multi_item_delimiter_indices",
    "token_indices_to_pool",
)
# Of its sampling parameters.
SAMPLING_FIELDS = ("logit_bias", "stop_token_ids")
# Of SGLang's chat request.
CHAT_FIELDS = ("logit_bias", "stop_token_ids", "custom_logit_processor")


def bears_ids(request: GenerateReqInput, chat: PromptSource | None) -> bool:
    """Whether a client's request holds token ids.

    Args:
        request: normalised; its prompt may be ids that SGLang made of a chat.
        chat: that the request was made of; None where the client wrote the request itself.
    """
    if chat is not None:
        return any(_is_set(getattr(chat.request, name, None)) for name in CHAT_FIELDS)
    if any(_is_set(getattr(request, name, None)) for name in REQUEST_FIELDS):
        return True
    params: Any = request.sampling_params
    every = params if isinstance(params, list) else [params or {}]
    return any(_is_set(entry.get(name)) for entry in every for name in SAMPLING_FIELDS)


def _is_set(value: Any) -> bool:
    """Whether a field says anything; a batch has a list, one entry a prompt."""
    if isinstance(value, list):
        return any(_is_set(item) for item in value)
    return value is not None and value != {} and value != ""
