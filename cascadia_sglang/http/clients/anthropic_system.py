"""Removes lines from Anthropic's system prompt that are not for the model."""

from typing import Any

_BILLING = "x-anthropic-billing-header:"


def without_billing_line(request: Any) -> Any:
    """The request without the lines that Claude Code writes for Anthropic's billing.

    Args:
        request: SGLang's AnthropicMessagesRequest; `system` is None, a text, or blocks of text.
    """
    system = request.system
    if isinstance(system, str):
        text = _cut(system)
        return request if text == system else request.model_copy(update={"system": text})
    blocks = []
    for block in system or ():
        is_billed = block.type == "text" and (block.text or "").lstrip().startswith(_BILLING)
        cut = block.model_copy(update={"text": _cut(block.text)}) if is_billed else block
        if not is_billed or cut.text:
            blocks.append(cut)
    if blocks == list(system or ()):
        return request
    return request.model_copy(update={"system": blocks})


def _cut(text: str) -> str:
    """The text without leading billing lines."""
    while text.lstrip().startswith(_BILLING):
        _, _, text = text.lstrip().partition("\n")
    return text
