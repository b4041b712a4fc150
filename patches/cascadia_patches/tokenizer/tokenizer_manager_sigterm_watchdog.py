"""AROUND hook on TokenizerManager.sigterm_watchdog: our own supervision and stop.

Upstream: polls every five seconds for SIGTERM, then drains without limit; Ctrl-C is the HTTP
server's.
We need: both signals drained within ten seconds, and the workers watched one by one. This is the
coroutine that SGLang starts with its event loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.managers.tokenizer_manager import TokenizerManager

    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., Any]:
    def supervise(_original: Callable[..., Any], manager: TokenizerManager) -> Any:
        return server.supervise(manager)

    return supervise


PATCH = PatchSpec(
    target="sglang.srt.managers.tokenizer_manager.TokenizerManager.sigterm_watchdog",
    hook_type="around",
    kind="async function",
    parameters=(),
    build=_build,
    reason="a stop must end within ten seconds, and a lost worker must not be one",
    drop_when="SGLang bounds its drain and lets a plugin watch workers",
)
