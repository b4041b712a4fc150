"""AROUND hook on Engine._launch_detokenizer_subprocesses: a detokenizer that can be replaced.

Upstream: starts the detokenizer and hands it to a watchdog, which ends the server with it.
We need: a detokenizer that shows signs of life, and a way to start another; the supervisor watches
it, so no process is handed back.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., Any]:
    def launch(original: Callable[..., Any], cls: type, **arguments: Any) -> Any:
        from cascadia_sglang.worker.main import run_detokenizer

        def start(pipe: Connection) -> Any:
            run = functools.partial(run_detokenizer, pipe, server.detokenizer_log)
            processes, _ = original(cls, **{**arguments, "run_detokenizer_process_func": run})
            return processes[0]

        server.detokenizer.launch(start)
        return [], []

    return launch


PATCH = PatchSpec(
    target="sglang.srt.entrypoints.engine.Engine._launch_detokenizer_subprocesses",
    hook_type="around",
    kind="classmethod",
    parameters=("server_args", "port_args", "run_detokenizer_process_func"),
    build=_build,
    reason="the loss of the detokenizer must not be the server's end",
    drop_when="SGLang restarts its detokenizer",
)
