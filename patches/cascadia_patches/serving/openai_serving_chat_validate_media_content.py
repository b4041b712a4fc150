"""AROUND hook on OpenAIServingChat._validate_media_content: some tier may take images.

Upstream: refuses messages with images or other media where the one model takes text alone.
We need: such messages where any tier takes them. They begin at the first of these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.entrypoints.openai.protocol import ChatCompletionRequest
    from sglang.srt.entrypoints.openai.serving_chat import OpenAIServingChat

    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., str | None]:
    def validate(
        original: Callable[..., str | None],
        handler: OpenAIServingChat,
        request: ChatCompletionRequest,
    ) -> str | None:
        return None if server.chat_voices.see_media() else original(handler, request)

    return validate


PATCH = PatchSpec(
    target="sglang.srt.entrypoints.openai.serving_chat.OpenAIServingChat._validate_media_content",
    hook_type="around",
    kind="function",
    parameters=("request",),
    build=_build,
    reason="messages with images are for the tiers that take them",
    drop_when="SGLang serves several models from one server",
)
