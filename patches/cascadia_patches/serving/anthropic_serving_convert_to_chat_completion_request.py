"""AROUND hook on AnthropicServing._convert_to_chat_completion_request: drop the billing line.

Upstream: the system blocks become the prompt's beginning as they are. Claude Code's first block is
a line for Anthropic's billing, with a number that changes in every request.
We need: prompts that begin alike, or no prefix is ever found in a cache again.
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


def _build(_server: CascadeServer) -> Callable[..., Any]:
    def convert(
        original: Callable[..., Any],
        serving: AnthropicServing,
        anthropic_request: AnthropicMessagesRequest,
    ) -> Any:
        return original(serving, without_billing_line(anthropic_request))

    return convert


PATCH = PatchSpec(
    target="sglang.srt.entrypoints.anthropic.serving.AnthropicServing._convert_to_chat_completion_request",
    hook_type="around",
    kind="function",
    parameters=("anthropic_request",),
    build=_build,
    reason="a line that changes in every request keeps the prefix caches from being used",
    drop_when="SGLang leaves the billing line out of the prompt",
)
