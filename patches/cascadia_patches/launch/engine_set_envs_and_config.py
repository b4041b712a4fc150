"""AFTER hook on engine._set_envs_and_config: workers are forked where that is safe.

Upstream: sets the process's environment and forces the spawn start method.
We need: the fork server on hosts without an accelerator, so that a worker skips SGLang's imports.
With CUDA the start method stays as SGLang sets it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., None]:
    def choose_start_method(_result: None, _server_args: object) -> None:
        if server.is_forking:
            multiprocessing.set_start_method("forkserver", force=True)

    return choose_start_method


PATCH = PatchSpec(
    target="sglang.srt.entrypoints.engine._set_envs_and_config",
    hook_type="after",
    kind="function",
    parameters=("server_args",),
    build=_build,
    reason="a worker must start in seconds while the server runs",
    drop_when="SGLang lets a platform choose the start method",
)
