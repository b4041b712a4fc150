"""A cascade's own server in recording mode."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from cascadia_sglang.config.paths import moved
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.processes.child_server import free_port, running_server


@contextlib.contextmanager
def recording_server(
    config: CascadeConfig, folder: Path, flags: Sequence[str], start_s: float
) -> Iterator[int]:
    """Serve a cascade while the block runs, on a free port of the loopback address; yields it.

    Args:
        config: with `judge.record`.
        folder: takes the cascade file that is served, and the server's log.
        flags: SGLang's, for every tier.

    Raises:
        StartError: if it ends or is not ready in time.
    """
    cascade = folder / "recording.json"
    data = moved(msgspec.to_builtins(config), folder)
    cascade.write_text(json.dumps(data, indent=1) + "\n")
    command = ["--plugin", "cascadia", "--cascade-config", str(cascade), "--host", "127.0.0.1"]
    log = folder / "server.log"
    with running_server([*command, *flags], port=free_port(), log=log, start_s=start_s) as port:
        yield port
