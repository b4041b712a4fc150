"""AROUND hook on configure_logger: a worker's lines have its name, and a file of their own.

Upstream: every process writes all its lines to the one console.
We need: of a worker and of the detokenizer only what concerns the operator there, under the
worker's name, and all lines in a file. It must be done here: SGLang's setting replaces any earlier.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.server_args import ServerArgs

    from cascadia_sglang.messages import WorkerLog


def _build(log: WorkerLog) -> Callable[..., Any]:
    def configure(original: Callable[..., Any], server_args: ServerArgs, prefix: str = "") -> None:
        from cascadia_sglang.processes.logs import split_log

        original(server_args, prefix=f" {log.name}{prefix}")
        split_log(log, prefix)

    return configure


PATCH = PatchSpec(
    target="sglang.srt.utils.common.configure_logger",
    hook_type="around",
    kind="function",
    parameters=("server_args", "prefix"),
    build=_build,
    reason="the lines of several engines on one console cannot be read",
    drop_when="SGLang lets a launcher choose the handlers of its processes",
)
