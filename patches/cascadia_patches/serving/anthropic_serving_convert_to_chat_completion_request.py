"""AROUND hook on AnthropicServing._convert_to_chat_completion_request: the system's lines.

Upstream: the system blocks become the prompt's beginning as they are. Claude Code's first block is
a line for Anthropic's billing, with a number that changes in every request. A system message amid
the others stays there where the one template takes it.
We need: prompts that begin alike, or no prefix is ever found in a cache again. And messages that
every tier's template takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec
from cascadia_sglang.http.clients.anthropic_system import without_billing_line

if TYPE_CHECKING:
    from sglang.srt.entrypoints.anthropic.protocol import AnthropicMessagesRequest
    from sglang.srt.entrypoints.anthropic.serving import AnthropicServing

    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., Any]:
    def convert(
        original: Callable[..., Any],
        serving: AnthropicServing,
        anthropic_request: AnthropicMessagesRequest,
    ) -> Any:
        if not server.chat_voices.take_inline_system():
            serving._merge_inline_system = True
        return original(serving, without_billing_line(anthropic_request))

    return convert


PATCH = PatchSpec(
    target="sglang.srt.entrypoints.anthropic.serving.AnthropicServing._convert_to_chat_completion_request",
    hook_type="around",
    kind="function",
    parameters=("anthropic_request",),
    build=_build,
    reason="a changing first line empties prefix caches, and tiers differ in what they take",
    drop_when="SGLang leaves the billing line out, and serves several models from one server",
)
