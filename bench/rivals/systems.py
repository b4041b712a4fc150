"""The systems that `bench.rivals.compare` sets beside each other, started and ready."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml

from bench.harness.client import post, send_all, send_at
from bench.harness.load import MAX_NEW_TOKENS, requests
from bench.harness.server import running_server
from bench.ladder.families import Row as Question
from bench.ladder.families import is_correct
from bench.ladder.splits import sample
from bench.rivals.proxy import mean_logprob
from bench.rivals.thresholds import cheapest

CONFIG = Path("bench/ladder/cascade.yaml")
CASCADE, PROXY = "Cascadia", "proxy over log-probabilities"
# The demo, and what each changes of its `routing`.
CASCADES: dict[str, dict[str, Any]] = {
    CASCADE: {},
    "Cascadia, no drafts": {"verify": {"enabled": False}},
}
SEED = 40_000
CONCURRENCY = 64
STARTS = 2  # servers that start at a time
FLAGS = ("--max-running-requests", "128", "--log-level", "warning")


@dataclass(slots=True, kw_only=True)
class System:
    """One way to answer; entry i of each list belongs to round i, or to question i.

    Attributes:
        pids: of the main processes, which speak HTTP, tokenize and route; models run in their
            children.
        cpu_s: CPU time a request, of all processes.
        main_cpu_s: the same of the main processes alone.
        right: of the questions of the closed loop.
        memory_gb: of all processes, once the closed loop is over.
        due_ms: of the open loop, by its share of load, the latencies of every round, from when a
            request was due.
    """

    name: str
    port: int
    pids: list[int]
    right: list[float] = field(default_factory=list)
    requests_per_s: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p95_ms: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    main_cpu_s: list[float] = field(default_factory=list)
    memory_gb: float = 0.0
    due_ms: dict[float, list[list[float]]] = field(default_factory=dict)

    def ask(self, questions: Sequence[Question]) -> None:
        """One round of the closed loop."""
        before, main_before = cpu_s(processes(self.pids)), cpu_s(main_processes(self.pids))
        sent = send_all(self.port, requests(questions), CONCURRENCY)
        self.cpu_s.append((cpu_s(processes(self.pids)) - before) / len(questions))
        self.main_cpu_s.append((cpu_s(main_processes(self.pids)) - main_before) / len(questions))
        self.requests_per_s.append(sent.requests_per_s)
        p50, p95 = np.quantile(sent.latencies_ms, (0.5, 0.95)).tolist()
        self.p50_ms.append(p50)
        self.p95_ms.append(p95)
        for question, reply in zip(questions, sent.replies, strict=True):
            self.right.append(float(is_correct(question, reply.json()["text"])))

    def ask_at(self, share: float, questions: Sequence[Question], at_s: Sequence[float]) -> None:
        """One round of the open loop."""
        sent = send_at(self.port, requests(questions), at_s)
        self.due_ms.setdefault(share, []).append(sent.latencies_ms)


def main_processes(pids: Sequence[int]) -> list[psutil.Process]:
    """These processes alone."""
    return [psutil.Process(pid) for pid in pids]


def processes(pids: Sequence[int]) -> list[psutil.Process]:
    """These processes and all below them."""
    return [one for top in main_processes(pids) for one in (top, *top.children(recursive=True))]


def cpu_s(some: Sequence[psutil.Process]) -> float:
    """CPU time that these processes have used."""
    times = [process.cpu_times() for process in some]
    return sum(one.user + one.system for one in times)


def memory_gb(some: Sequence[psutil.Process]) -> float:
    """What these processes hold of memory, what several of them hold divided among them."""
    return sum(process.memory_full_info().pss for process in some) / 1e9


def pid_of(port: int) -> int:
    """The process that listens on a port of the loopback address."""
    for connection in psutil.net_connections("inet"):
        is_here = connection.laddr and connection.laddr.port == port
        if is_here and connection.status == psutil.CONN_LISTEN and connection.pid:
            return int(connection.pid)
    raise RuntimeError(f"nobody listens on port {port}")


def chosen_thresholds(cascade: int, ports: Sequence[int], count: int) -> list[float]:
    """Ask the cascade, and every tier alone, a sample; the proxy's thresholds."""
    questions = sample("calibration", SEED, count)
    sampling = {"temperature": 0, "max_new_tokens": MAX_NEW_TOKENS}
    asked = [
        post("/generate", {"text": q.prompt, "sampling_params": sampling, "return_logprob": True})
        for q in questions
    ]
    sent = send_all(cascade, requests(questions), CONCURRENCY)
    floor = np.mean(
        [
            is_correct(question, reply.json()["text"])
            for question, reply in zip(questions, sent.replies, strict=True)
        ]
    )
    scores, right, costs = [], [], []
    for port in ports:
        sent = send_all(port, asked, CONCURRENCY)
        answers = [reply.json() for reply in sent.replies]
        scores.append([mean_logprob(answer) for answer in answers])
        right.append(
            [is_correct(q, answer["text"]) for q, answer in zip(questions, answers, strict=True)]
        )
        costs.append(sent.seconds / count)
    thresholds = cheapest(np.array(scores).T, np.array(right).T, costs, float(floor))
    return [*thresholds, float("-inf")]


def started(
    stack: ExitStack, port: int, chosen_on: int, cascades: Mapping[str, dict[str, Any]] = CASCADES
) -> list[System]:
    """All systems, ready: the cascade first, the proxy, and the tiers alone, the largest last.

    Args:
        port: below that of the first server.
        chosen_on: questions that choose the proxy's thresholds.
        cascades: by name, as `CASCADES` has them.
    """
    logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))

    def serve(flags: Sequence[str], own: int, module: str = "sglang.launch_server") -> int:
        log = logs / f"{own}.log"
        return stack.enter_context(running_server(flags, port=own, log=log, module=module))

    cascade = yaml.safe_load(CONFIG.read_text())
    tiers = cascade["tiers"]
    wanted = []
    for number, changed in enumerate(cascades.values()):
        path = logs / f"cascade-{number}.yaml"
        routing = {**cascade["routing"], **changed}
        path.write_text(yaml.safe_dump({**cascade, "routing": routing}))
        wanted.append(("--plugin", "cascadia", "--cascade-config", str(path), *FLAGS))
    for tier in tiers:
        own = [(f"--{key.replace('_', '-')}", str(v)) for key, v in tier["server_args"].items()]
        flat = [part for pair in own for part in pair]
        wanted.append(("--model-path", tier["model_path"], *flat, *FLAGS))
    # A server ends with the thread that began it: these stay for as long as the servers do.
    threads = stack.enter_context(ThreadPoolExecutor(STARTS))
    ports = list(threads.map(serve, wanted, range(port + 1, port + 1 + len(wanted))))
    own_ports, alone = ports[: len(cascades)], ports[len(cascades) :]
    thresholds = chosen_thresholds(own_ports[0], alone, chosen_on)
    print(f"the proxy accepts from {thresholds}", file=sys.stderr, flush=True)
    flags = [
        part
        for own, least in zip(alone, thresholds, strict=True)
        for part in ("--tier", f"http://127.0.0.1:{own}={least!r}")
    ]
    proxy = serve(flags, port + 1 + len(wanted), "bench.rivals.proxy")
    return [
        *(
            System(name=name, port=own, pids=[pid_of(own)])
            for name, own in zip(cascades, own_ports, strict=True)
        ),
        System(name=PROXY, port=proxy, pids=[pid_of(one) for one in (proxy, *alone)]),
        *(
            System(name=f"{tier['name']} alone", port=own, pids=[pid_of(own)])
            for tier, own in zip(tiers, alone, strict=True)
        ),
    ]
