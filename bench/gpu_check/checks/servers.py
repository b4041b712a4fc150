"""Servers of the checks: SGLang as the machine has it, with one card or none."""

from __future__ import annotations

import http.client
import json
import random
import socket
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from bench.gpu_check.results import Check
from bench.harness.admin import KEY
from cascadia_sglang.processes.child_server import running_server

# For a machine that has none of SGLang's compiled kernels.
FLAGS = ("--sampling-backend", "pytorch", "--log-level", "info")
# Of the card, for each worker: several servers share it.
MEMORY = ("--mem-fraction-static", "0.3")
# Without a card: the platform of the CPU chooses the rest.
FLAGS_DRY = ("--log-level", "info")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What to start.

    Attributes:
        config: of a cascade; None for plain SGLang, whose flags then name the model.
        flags: added to those of the machine.
        sizes_itself: whether the cascade divides the card's memory among its workers.
    """

    name: str
    config: Mapping[str, Any] | None = None
    flags: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    sizes_itself: bool = False


@contextmanager
def serving(check: Check, server: Server) -> Iterator[int]:
    """Serve while the block runs; yields the port. The log lies in the stage's folder."""
    of_machine = FLAGS_DRY if check.dry else FLAGS
    memory = () if check.dry or server.sizes_itself else MEMORY
    flags = [*of_machine, *memory, "--admin-api-key", KEY, *server.flags]
    if server.config is not None:
        path = check.work / f"{server.name}.json"
        path.write_text(json.dumps({"version": 1, **server.config}))
        flags += ["--plugin", "cascadia", "--cascade-config", str(path)]
    with running_server(
        flags,
        port=free_port(),
        log=check.work / f"{server.name}.log",
        start_s=max(1.0, check.left_s()),
        environment=server.environment,
    ) as port:
        yield port


@contextmanager
def all_serving(check: Check, servers: Sequence[Server]) -> Iterator[dict[str, int]]:
    """Serve several at once, started together on a card and one by one without; yields ports.

    The ends of the servers are awaited together, too.
    """
    stacks = [ExitStack() for _ in servers]

    def start(pair: tuple[Server, ExitStack]) -> int:
        return pair[1].enter_context(serving(check, pair[0]))

    with ThreadPoolExecutor(1 if check.dry else len(servers)) as threads:
        try:
            ports = list(threads.map(start, zip(servers, stacks, strict=True)))
            yield {server.name: port for server, port in zip(servers, ports, strict=True)}
        finally:
            list(threads.map(ExitStack.close, stacks))


def for_each(
    check: Check, servers: Sequence[Server], work: Callable[[Server, int], T]
) -> list[T | None]:
    """Start each server, do something with it and stop it; all at once on a card.

    Where a server or the work with it fails, that is a check that did not pass, and None.
    """

    def run_one_server(server: Server) -> T | None:
        try:
            with serving(check, server) as port:
                return work(server, port)
        except Exception as error:  # noqa: BLE001  the other servers are still to be seen
            traceback.print_exc()
            check.passes(f"{server.name}: the server runs", False, error=str(error))
            return None

    with ThreadPoolExecutor(1 if check.dry else len(servers)) as threads:
        return list(threads.map(run_one_server, servers))


def free_port() -> int:
    """One that the system gives to nobody by itself: other servers' inner ports come from there."""
    while True:
        port = random.randint(20_000, 30_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def status(port: int) -> dict[str, Any]:
    """What the cascade says of itself."""
    return dict(get(port, "/cascadia/status"))


def get(port: int, path: str) -> Any:
    """The JSON of a route.

    Raises:
        RuntimeError: if it is not 200.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers={"authorization": f"Bearer {KEY}"})
        reply = connection.getresponse()
        body = reply.read()
    finally:
        connection.close()
    if reply.status != 200:
        raise RuntimeError(f"{path} answered {reply.status}: {body[:300]!r}")
    return json.loads(body)


def model(folder: str) -> str:
    """A model of the demo."""
    return str(Path("demo/models") / folder)
