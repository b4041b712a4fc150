"""AROUND hook on Engine._launch_detokenizer_subprocesses: one for each tokenizer, replaceable.

Upstream: starts the detokenizer and hands it to a watchdog, which ends the server with it.
We need: a detokenizer for each tokenizer of the tiers, which shows signs of life, and a way to
start another. The supervisor watches them, so no process is handed back.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from cascadia_sglang.fleet.detokenizer import Detokenizer
    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., Any]:
    def launch(original: Callable[..., Any], cls: type, **arguments: Any) -> Any:
        from cascadia_sglang.worker.main import run_detokenizer

        def start(detokenizer: Detokenizer, pipe: Connection) -> Any:
            given = dict(arguments)
            if detokenizer.address is not None:
                address = detokenizer.address
                ports = dataclasses.replace(given["port_args"], detokenizer_ipc_name=address)
                given |= {"port_args": ports, "server_args": server.arguments_of(detokenizer.voice)}
            log = server.log_of(detokenizer.name)
            given["run_detokenizer_process_func"] = functools.partial(run_detokenizer, pipe, log)
            processes, _ = original(cls, **given)
            return processes[0]

        for detokenizer in server.detokenizers:
            detokenizer.launch(functools.partial(start, detokenizer))
        return [], []

    return launch


PATCH = PatchSpec(
    target="sglang.srt.entrypoints.engine.Engine._launch_detokenizer_subprocesses",
    hook_type="around",
    kind="classmethod",
    parameters=("server_args", "port_args", "run_detokenizer_process_func"),
    build=_build,
    reason="tiers have detokenizers of their own, and the loss of one must not end the server",
    drop_when="SGLang serves several models from one server, and restarts their detokenizers",
)
