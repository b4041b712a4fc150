"""AROUND hook on TokenizerControlMixin.get_loads: the load of every worker.

Upstream: reads the shared memory of the one scheduler group.
We need: that of each worker, with its name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., Any]:
    async def get_loads(
        _original: Callable[..., Any],
        _manager: object,
        include: list[str] | None = None,
        dp_rank: int | None = None,
    ) -> list[Any]:
        from cascadia_sglang.pool.load_snapshots import read_loads

        del include
        return await asyncio.to_thread(read_loads, server.pool.ready(), dp_rank)

    return get_loads


PATCH = PatchSpec(
    target="sglang.srt.managers.tokenizer_control_mixin.TokenizerControlMixin.get_loads",
    hook_type="around",
    kind="async function",
    parameters=("include", "dp_rank"),
    build=_build,
    reason="every worker has its own load",
    drop_when="SGLang serves several models from one server",
)
