"""A system under test, and what one round of questions tells of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil

from bench.harness.client import send_all, send_at
from bench.harness.load import requests
from bench.ladder.families import Row as Question
from bench.ladder.families import is_correct

CONCURRENCY = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """One round.

    Attributes:
        right: whether each question was answered right, as 0 or 1.
        latencies_ms: of each, in an open loop from when it was due.
        first_ms: of each, to the first byte of the body.
        cpu_s: CPU time a request, of all processes.
        main_cpu_s: the same of the main processes alone.
        answered_tokens: that clients were given.
        generated_tokens: by all tiers.
    """

    right: list[float]
    latencies_ms: list[float]
    first_ms: list[float]
    requests_per_s: float
    cpu_s: float
    main_cpu_s: float
    answered_tokens: int
    generated_tokens: int


@dataclass(slots=True, kw_only=True)
class System:
    """One way to answer.

    Attributes:
        pids: of the main processes, which speak HTTP, tokenize and route; models run in their
            children.
        settings: headers that make it more, or less, content with small tiers, by name.
        rounds: that were played, by case.
        memory_gb: of all processes, once the closed loop is over.
    """

    name: str
    port: int
    pids: list[int]
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    rounds: dict[str, list[Played]] = field(default_factory=dict)
    memory_gb: float = 0.0

    def play(
        self,
        case: str,
        questions: Sequence[Question],
        *,
        at_s: Sequence[float] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Played:
        """One round: a closed loop, or with times an open one, whose answers are streamed."""
        before, main_before = cpu_s(processes(self.pids)), cpu_s(main_processes(self.pids))
        if at_s is None:
            sent = send_all(self.port, requests(questions, headers=headers), CONCURRENCY)
        else:
            asked = requests(questions, stream_interval=1, headers=headers)
            sent = send_at(self.port, asked, at_s)
        answers = [reply.json() for reply in sent.replies]
        played = Played(
            right=[
                float(is_correct(question, answer["text"]))
                for question, answer in zip(questions, answers, strict=True)
            ],
            latencies_ms=sent.latencies_ms,
            first_ms=[1000 * reply.first_byte_s for reply in sent.replies],
            requests_per_s=sent.requests_per_s,
            cpu_s=(cpu_s(processes(self.pids)) - before) / len(questions),
            main_cpu_s=(cpu_s(main_processes(self.pids)) - main_before) / len(questions),
            answered_tokens=sum(answer["meta_info"]["completion_tokens"] for answer in answers),
            generated_tokens=sum(generated(answer["meta_info"]) for answer in answers),
        )
        self.rounds.setdefault(case, []).append(played)
        return played


def generated(meta: Mapping[str, Any]) -> int:
    """Tokens that all tiers generated for an answer."""
    if "cascadia" in meta:
        return sum(attempt["tokens"] for attempt in meta["cascadia"]["attempts"])
    return int(meta.get("proxy_tokens", meta["completion_tokens"]))


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
