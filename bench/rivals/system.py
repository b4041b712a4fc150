"""A system under test, and what one round of questions tells of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil

from bench.harness.admin import ask
from bench.harness.client import send_all, send_at
from bench.harness.load import BUFFERED, Prompted, requests
from demo.tasks.families import MAX_ANSWER_TOKENS, is_correct

CONCURRENCY = 64
FRONT, SERVERS, REST = "front", "servers behind it", "other processes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """How questions are asked, and what makes an answer right.

    Attributes:
        is_right: of a question and the text of its answer.
        max_tokens: of an answer.
        concurrency: of a closed loop.
        streamed: headers of a streamed request.
    """

    is_right: Callable[[Any, str], bool]
    max_tokens: int
    concurrency: int
    streamed: Mapping[str, str]


DEMO_EXAM = Exam(
    is_right=is_correct,
    max_tokens=MAX_ANSWER_TOKENS,
    concurrency=CONCURRENCY,
    streamed=BUFFERED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedRound:
    """One round.

    Attributes:
        right: whether each question was answered right, as 0 or 1.
        latencies_ms: of each, in an open loop from when it was due.
        first_ms: of each, to the first byte of the body.
        cpu_s: CPU time a request, by role of the process, and of all others under `REST`.
        answered_tokens: that clients were given.
        generated_tokens: by all tiers.
    """

    right: list[float]
    latencies_ms: list[float]
    first_ms: list[float]
    requests_per_s: float
    cpu_s: Mapping[str, float]
    answered_tokens: int
    generated_tokens: int


@dataclass(slots=True, kw_only=True)
class System:
    """One way to answer.

    Attributes:
        pids: of the processes that all others are children of.
        roles: what some of them and of their children do: the one that clients talk to is `FRONT`,
            what speaks HTTP and tokenizes behind it `SERVERS`, a tier's workers its name.
        settings: headers that make it more, or less, content with small tiers, by name.
        rounds: that were played, by case.
        is_rival: whether it is asked in open loops too.
        memory_gb: of all processes, once the closed loop is over.
    """

    name: str
    port: int
    pids: Sequence[int]
    roles: Mapping[str, Sequence[int]] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    rounds: dict[str, list[PlayedRound]] = field(default_factory=dict)
    is_rival: bool = True
    memory_gb: float = 0.0

    def play(
        self,
        case: str,
        questions: Sequence[Prompted],
        *,
        at_s: Sequence[float] | None = None,
        headers: Mapping[str, str] | None = None,
        exam: Exam = DEMO_EXAM,
    ) -> PlayedRound:
        """One round: a closed loop, or with times an open one, whose answers are streamed."""
        before = self.cpu_s()
        if at_s is None:
            bodies = requests(questions, max_tokens=exam.max_tokens, headers=headers)
            sent = send_all(self.port, bodies, exam.concurrency)
        else:
            bodies = requests(
                questions,
                max_tokens=exam.max_tokens,
                stream_interval=1,
                headers={**exam.streamed, **(headers or {})},
            )
            sent = send_at(self.port, bodies, at_s)
        after = self.cpu_s()
        answers = [reply.json() for reply in sent.replies]
        played = PlayedRound(
            right=[
                float(exam.is_right(question, answer["text"]))
                for question, answer in zip(questions, answers, strict=True)
            ],
            latencies_ms=sent.latencies_ms,
            first_ms=[1000 * reply.first_byte_s for reply in sent.replies],
            requests_per_s=sent.requests_per_s,
            cpu_s={
                role: (used_s_of_role - before[role]) / len(questions)
                for role, used_s_of_role in after.items()
            },
            answered_tokens=sum(answer["meta_info"]["completion_tokens"] for answer in answers),
            generated_tokens=sum(generated(answer["meta_info"]) for answer in answers),
        )
        self.rounds.setdefault(case, []).append(played)
        return played

    def cpu_s(self) -> dict[str, float]:
        """CPU time that it has used, by role."""
        used = {role: sum(map(used_s, pids)) for role, pids in self.roles.items()}
        used[REST] = sum(used_s(process.pid) for process in processes(self.pids)) - sum(
            used.values()
        )
        return used


def generated(meta: Mapping[str, Any]) -> int:
    """Tokens that all tiers generated for an answer."""
    if "cascadia" in meta:
        return sum(attempt["tokens"] for attempt in meta["cascadia"]["attempts"])
    return int(meta.get("proxy_tokens", meta["completion_tokens"]))


def processes(pids: Sequence[int]) -> list[psutil.Process]:
    """These processes and all below them."""
    tops = [psutil.Process(pid) for pid in pids]
    return [process for top in tops for process in (top, *top.children(recursive=True))]


def used_s(pid: int) -> float:
    """CPU time that a process has used."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def workers_of(pid: int) -> list[int]:
    """The processes of a plain server in which its model runs."""
    titles = {process.pid: process.cmdline() for process in processes([pid])}
    return [pid for pid, title in titles.items() if title[:1] == ["sglang::scheduler"]]


def workers_of_cascade(port: int) -> dict[str, list[int]]:
    """The same of a cascade's server, by tier."""
    pids_by_tier: dict[str, list[int]] = {}
    for worker in ask(port, "GET", "/cascadia/status")["workers"]:
        pids_by_tier.setdefault(worker["tiers"][0], []).extend(worker["pids"])
    return pids_by_tier


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
