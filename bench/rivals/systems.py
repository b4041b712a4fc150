"""The systems that `bench.rivals.compare` sets beside each other, started and ready."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from bench.harness.server import running_server
from bench.rivals.fronts import encoder, ngrams
from bench.rivals.fronts.front import FROM_HEADER
from bench.rivals.fronts.sampled import AnsweredSample, ask_all, with_chances
from bench.rivals.fronts.thresholds import cheapest
from bench.rivals.report import ALONE, DEMO
from bench.rivals.system import (
    FRONT,
    SERVERS,
    System,
    pid_of,
    processes,
    workers_of,
    workers_of_cascade,
)
from cascadia_sglang.config.cascade_file import read_cascade
from cascadia_sglang.processes.child_server import START_S

Router = ModuleType  # with `fit` and `load`, of `bench.rivals.fronts.router`'s types
Server = tuple[str, list[str]]  # a module to run, and its flags but the port

SGLANG = "sglang.launch_server"
CONFIG = Path(DEMO)
CASCADE, PROXY = "Cascadia", "proxy over log-probabilities"
GATEWAY = "the same proxy behind LiteLLM"
ROUTERS: Mapping[str, Router] = {"router, n-grams": ngrams, "router, encoder": encoder}
SEED = 40_000
STARTS = 2  # servers that start, or stop, at a time
LAST_LINES = 5  # of every log, told where a bench breaks off
FLAGS = ("--max-running-requests", "128", "--log-level", "warning")
# Of accuracy on the sample, below the cascade's: what a system is asked for at other settings.
LESS = (0.0, 0.01, 0.02, 0.04, 0.08)
# The cascade's own settings: one threshold for all tiers.
THRESHOLDS = (0.2, 0.5, 0.8, 0.9, 0.99)


def cascade_server(config: Path, flags: Sequence[str] = FLAGS) -> Server:
    """A server of the cascade that a file describes."""
    return SGLANG, ["--plugin", "cascadia", "--cascade-config", str(config), *flags]


def cascades(folder: Path, changes: Iterable[Mapping[str, Mapping[str, Any]]]) -> list[Server]:
    """A server of the demo cascade for every change of its settings.

    Args:
        changes: by section of the settings, what differs there.
    """
    demo, servers = read_cascade(CONFIG).data, []
    for number, change in enumerate(changes):
        changed = {name: {**demo.get(name, {}), **section} for name, section in change.items()}
        path = folder / f"cascade-{number}.yaml"
        path.write_text(yaml.safe_dump({**demo, **changed}))
        servers.append(cascade_server(path))
    return servers


def plain_servers(config: Path = CONFIG, flags: Sequence[str] = FLAGS) -> dict[str, Server]:
    """Plain SGLang, by the tier of a cascade's file that it serves alone, smallest first."""
    servers = {}
    for tier in read_cascade(config).data["tiers"]:
        tier_flags = [
            (f"--{key.replace('_', '-')}", str(v)) for key, v in tier["server_args"].items()
        ]
        flat = [part for pair in tier_flags for part in pair]
        servers[tier["name"]] = (SGLANG, ["--model-path", tier["model_path"], *flat, *flags])
    return servers


class Starter:
    """Starts servers that live as long as a stack, at ports above one."""

    def __init__(
        self, stack: ExitStack, port: int, *, start_s: float = START_S, threads: int = 1
    ) -> None:
        """Begin with no server.

        Args:
            start_s: how long one may take until it is ready.
            threads: of each model, for its computation.
        """
        self._port = port
        self._start_s = start_s
        self._environment = {"OMP_NUM_THREADS": str(threads)}
        self._servers: list[AbstractContextManager[int]] = []
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # A server ends with the thread that began it: these stay for as long as the servers do.
        self._threads = stack.enter_context(ThreadPoolExecutor(STARTS))
        stack.push(self._stop)

    def start(self, servers: Sequence[Server]) -> list[int]:
        """The ports of these servers, ready."""
        first = self._port + 1
        self._port += len(servers)

        def serve(server: Server, own_port: int) -> int:
            module, flags = server
            log = self.folder / f"{own_port}.log"
            running = running_server(
                flags,
                port=own_port,
                log=log,
                start_s=self._start_s,
                environment=self._environment,
                module=module,
            )
            ready = running.__enter__()
            self._servers.append(running)
            return ready

        return list(self._threads.map(serve, servers, range(first, first + len(servers))))

    def _stop(self, kind: type[BaseException] | None, *_: object) -> None:
        list(self._threads.map(lambda server: server.__exit__(None, None, None), self._servers))
        if kind is not None:
            for log in sorted(self.folder.glob("*.log")):
                for line in log.read_text(errors="replace").splitlines()[-LAST_LINES:]:
                    print(f"{log.name}: {line[:300]}", file=sys.stderr)


def found_by(sampled: AnsweredSample, *, climbs_from_below: bool) -> list[list[float]]:
    """Thresholds for the cascade's accuracy on the sample, and for less and less than it."""
    return [
        list(
            cheapest(
                sampled.scores_NT,
                sampled.right_NT,
                sampled.costs_s_T,
                sampled.floor - less,
                climbs_from_below=climbs_from_below,
            )
        )
        for less in LESS
    ]


def before(alone: Sequence[int], thresholds: Sequence[float]) -> list[str]:
    """The flags of a proxy or a router before the tiers alone, by their ports."""
    return [
        part
        for port, least in zip(alone, [*thresholds, float("-inf")], strict=True)
        for part in ("--tier", f"http://127.0.0.1:{port}={least!r}")
    ]


def proxy_server(alone: Sequence[int], thresholds: Sequence[float]) -> Server:
    """The proxy over log-probabilities."""
    return "bench.rivals.fronts.proxy", before(alone, thresholds)


def gateway_server(alone: Sequence[int], thresholds: Sequence[float], litellm: Path) -> Server:
    """The same behind LiteLLM, whose command is given."""
    flags = [*before(alone, thresholds), "--litellm", str(litellm)]
    return "bench.rivals.fronts.gateway", flags


def router_server(
    router: Router, alone: Sequence[int], thresholds: Sequence[float], path: Path, *more: str
) -> Server:
    """A router, by the file that its fit has written; `more` are flags of its own."""
    return router.__name__, [*before(alone, thresholds), "--model", str(path), *more]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainTiers:
    """Plain servers that run, by the tier that each serves alone, smallest first.

    Attributes:
        pids: of the servers.
        workers: of the processes in which their models run.
    """

    ports: Mapping[str, int]
    pids: Mapping[str, int]
    workers: Mapping[str, Sequence[int]]

    @classmethod
    def at(cls, ports: Mapping[str, int]) -> PlainTiers:
        """Those that listen there."""
        pids = {name: pid_of(port) for name, port in ports.items()}
        workers = {name: workers_of(pid) for name, pid in pids.items()}
        return cls(ports=ports, pids=pids, workers=workers)

    def behind(
        self, name: str, front: int, settings: Mapping[str, Mapping[str, str]] | None = None
    ) -> System:
        """The system of a front before them.

        Args:
            front: its port.
            settings: as `System` has them.
        """
        pid = pid_of(front)
        return System(
            name=name,
            port=front,
            pids=[pid, *self.pids.values()],
            roles={
                FRONT: [process.pid for process in processes([pid])],
                SERVERS: list(self.pids.values()),
                **self.workers,
            },
            settings=settings or {},
        )

    def alone(self, tier: str, *, is_rival: bool = True) -> System:
        """One of them without the others."""
        pid = self.pids[tier]
        return System(
            name=f"{tier}{ALONE}",
            port=self.ports[tier],
            pids=[pid],
            roles={FRONT: [pid], tier: self.workers[tier]},
            is_rival=is_rival,
        )


def cascade_at(name: str, port: int) -> System:
    """A server of the cascade."""
    return System(
        name=name,
        port=port,
        pids=[pid_of(port)],
        roles={FRONT: [pid_of(port)], **workers_of_cascade(port)},
        settings={
            f"{threshold:g}": {"x-cascadia-threshold": f"{threshold:g}"} for threshold in THRESHOLDS
        },
    )


def started(
    stack: ExitStack,
    port: int,
    chosen_on: int,
    litellm: Path | None = None,
    routers: Mapping[str, Router] = ROUTERS,
    *,
    one_plain_server: bool = False,
) -> list[System]:
    """All systems, ready: the cascade first, then the fronts and the tiers alone, the largest last.

    Args:
        port: below that of the first server.
        chosen_on: questions that choose thresholds, and that routers learn from.
        litellm: its command, where it is compared too.
        routers: that are compared too, by name.
        one_plain_server: whether the smallest tier's server stands for every tier alone, which
            shows in less time whether everything runs.
    """
    starter, plain = Starter(stack, port), plain_servers()
    kinds = [*plain.values()][:1] if one_plain_server else [*plain.values()]
    cascade, *ports = starter.start([*cascades(starter.folder, [{}]), *kinds])
    alone = ports * len(plain) if one_plain_server else ports
    sampled = ask_all(cascade, alone, SEED, chosen_on)
    thresholds_of = {PROXY: found_by(sampled, climbs_from_below=True)}
    servers_to_start = {PROXY: proxy_server(alone, thresholds_of[PROXY][0])}
    if litellm is not None:
        servers_to_start[GATEWAY] = gateway_server(alone, thresholds_of[PROXY][0], litellm)
    for name, router in routers.items():
        path = starter.folder / name
        routed = with_chances(sampled, router.fit, router.load, path)
        thresholds_of[name] = found_by(routed, climbs_from_below=False)
        servers_to_start[name] = router_server(router, alone, thresholds_of[name][0], path)
    fronts = dict(zip(servers_to_start, starter.start([*servers_to_start.values()]), strict=True))
    print(
        f"thresholds: { ({name: choices[0] for name, choices in thresholds_of.items()}) }",
        file=sys.stderr,
    )
    tiers = PlainTiers.at(dict(zip(plain, alone, strict=True)))
    settings_of = {
        name: {
            f"{less:.0%} less": {FROM_HEADER: ",".join(map(repr, thresholds))}
            for less, thresholds in zip(LESS, choices, strict=True)
        }
        for name, choices in thresholds_of.items()
    }
    return [
        cascade_at(CASCADE, cascade),
        # LiteLLM's settings are the proxy's, and not asked for again.
        *(tiers.behind(name, front, settings_of.get(name)) for name, front in fronts.items()),
        *(tiers.alone(name, is_rival=name == [*plain][-1]) for name in plain),
    ]
