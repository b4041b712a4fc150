"""AROUND hook on AnthropicServing._error_response: the type that Anthropic has for the status.

Upstream: hands on the types of its OpenAI handlers, such as `BadRequestError`.
We need: one of Anthropic's own types, which its clients know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec
from cascadia_sglang.http.errors.error_shapes import anthropic_type

if TYPE_CHECKING:
    from sglang.srt.entrypoints.anthropic.serving import AnthropicServing

    from cascadia_sglang.server.server import CascadeServer


def _build(_server: CascadeServer) -> Callable[..., Any]:
    def with_own_type(
        original: Callable[..., Any],
        serving: AnthropicServing,
        status_code: int,
        error_type: str,  # noqa: ARG001
        message: str,
        exception_name: str | None = None,
    ) -> Any:
        return original(serving, status_code, anthropic_type(status_code), message, exception_name)

    return with_own_type


PATCH = PatchSpec(
    target="sglang.srt.entrypoints.anthropic.serving.AnthropicServing._error_response",
    hook_type="around",
    kind="function",
    parameters=("status_code", "error_type", "message", "exception_name"),
    build=_build,
    reason="errors on Anthropic's route have Anthropic's types",
    drop_when="SGLang maps the types of its OpenAI handlers to Anthropic's",
)
