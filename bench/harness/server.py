"""Servers of the benches: one thread a process, and nothing is asked of a model hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from cascadia_sglang.processes import child_server


def running_server(
    arguments: Sequence[str],
    *,
    port: int,
    log: Path,
    start_s: float = child_server.START_S,
    environment: Mapping[str, str] | None = None,
    module: str = "sglang.launch_server",
) -> AbstractContextManager[int]:
    """`child_server.running_server` with these settings; `environment` goes above them."""
    variables = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **(environment or {})}
    return child_server.running_server(
        arguments, port=port, log=log, start_s=start_s, environment=variables, module=module
    )
