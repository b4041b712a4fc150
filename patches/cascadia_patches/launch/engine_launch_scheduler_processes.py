"""AROUND hook on Engine._launch_scheduler_processes: start the workers of every tier.

Upstream: starts the one scheduler group of the one model.
We need: one group a replica of every tier, each with its own ports. No process is handed back to
SGLang's watchdog, which would end the server with the first worker; the supervisor watches them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec
from cascadia_sglang.server.start_errors import one_line_exit

if TYPE_CHECKING:
    from sglang.srt.server_args import PortArgs

    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., Any]:
    def launch_all(
        original: Callable[..., Any],
        cls: type,
        _server_args: object,
        port_args: PortArgs,
        _run_scheduler_process_func: Callable[..., None],
        **options: Any,
    ) -> Any:
        from sglang.srt.entrypoints.engine import SchedulerInitResult

        with one_line_exit():
            workers = server.launch(functools.partial(original, cls, **options), port_args)
        infos: list[Any] = []

        def wait_for_ready() -> None:
            with one_line_exit():
                server.fleet.admit_when_ready(workers)
            for worker in workers:
                infos.extend(worker.handle.scheduler_infos)

        pids = [pid for worker in workers for pid in worker.handle.pids]
        return SchedulerInitResult(
            scheduler_infos=infos, all_child_pids=pids, wait_for_ready=wait_for_ready
        ), None

    return launch_all


PATCH = PatchSpec(
    target="sglang.srt.entrypoints.engine.Engine._launch_scheduler_processes",
    hook_type="around",
    kind="classmethod",
    parameters=("server_args", "port_args", "run_scheduler_process_func"),
    build=_build,
    reason="one server holds the engine workers of all tiers",
    drop_when="SGLang serves several models from one server",
)
