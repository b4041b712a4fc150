"""Cascadia beside what people use in its place: the same prompts, the same machine, in turn.

- every tier alone, on plain SGLang;
- the cascade that a user writes in an afternoon: a proxy before those servers, which reads
  log-probabilities over HTTP (`bench.rivals.proxy`); its thresholds are the cheapest that are as
  accurate as the cascade on a sample of the calibration split, where the cascade's come from too;
- the demo cascade, once writing every answer anew and once reading drafts (`routing.verify`).

All servers run at once and one system works while the others sleep. Tiers share the machine's
cores.

Example:
    python -m bench.rivals.compare               # writes bench/results/rivals.{csv,md}
    python -m bench.rivals.compare --smoke       # a few prompts; writes nothing
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import yaml

from bench.harness.client import post, send_all
from bench.harness.estimates import Estimate, mean, mean_difference, median_ratio, spread
from bench.harness.load import MAX_NEW_TOKENS, requests
from bench.harness.rows import RESULTS, facts_of_this_run, make_row, save_rows, source_line
from bench.harness.server import running_server
from bench.ladder.families import Row as Question
from bench.ladder.families import is_correct
from bench.ladder.splits import sample
from bench.rivals.proxy import mean_logprob
from bench.rivals.thresholds import cheapest

BENCH = "rivals"
CONFIG = Path("bench/ladder/cascade.yaml")
CASCADE, ANEW, PROXY = "Cascadia", "Cascadia, no drafts", "proxy over log-probabilities"
SEED = 40_000
CONCURRENCY = 64
FLAGS = ("--max-running-requests", "128", "--log-level", "warning")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Questions that choose thresholds; rounds, and questions a round."""

    chosen_on: int
    rounds: int
    questions: int


FULL = Size(chosen_on=2_000, rounds=7, questions=320)
SMOKE = Size(chosen_on=64, rounds=1, questions=48)


@dataclass(slots=True, kw_only=True)
class System:
    """One way to answer; entry i of each list belongs to round i, or to question i.

    Attributes:
        pids: of the main processes whose CPU time it takes, its children's with it.
    """

    name: str
    port: int
    pids: list[int]
    right: list[float] = field(default_factory=list)
    requests_per_s: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p95_ms: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def ask(self, questions: Sequence[Question]) -> None:
        """One round."""
        before = cpu_s(self.pids)
        sent = send_all(self.port, requests(questions), CONCURRENCY)
        self.cpu_s.append((cpu_s(self.pids) - before) / len(questions))
        self.requests_per_s.append(sent.requests_per_s)
        p50, p95 = np.quantile(sent.latencies_ms, (0.5, 0.95)).tolist()
        self.p50_ms.append(p50)
        self.p95_ms.append(p95)
        for question, reply in zip(questions, sent.replies, strict=True):
            self.right.append(float(is_correct(question, reply.json()["text"])))


def cpu_s(pids: Sequence[int]) -> float:
    """CPU time that these processes and all below them have used."""
    total = 0.0
    for pid in pids:
        main = psutil.Process(pid)
        for process in (main, *main.children(recursive=True)):
            times = process.cpu_times()
            total += times.user + times.system
    return total


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


def started(stack: ExitStack, port: int, size: Size) -> list[System]:
    """All systems, ready: the cascade, the proxy, and the tiers alone."""
    logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))

    def serve(flags: Sequence[str], module: str = "sglang.launch_server") -> int:
        nonlocal port
        port += 1
        log = logs / f"{port}.log"
        return stack.enter_context(running_server(flags, port=port, log=log, module=module))

    cascade = yaml.safe_load(CONFIG.read_text())
    tiers = cascade["tiers"]
    cascades = []
    for number, verify in enumerate(("auto", False)):
        path = logs / f"cascade-{number}.yaml"
        routing = {**cascade["routing"], "verify": {"enabled": verify}}
        path.write_text(yaml.safe_dump({**cascade, "routing": routing}))
        cascades.append(serve(("--plugin", "cascadia", "--cascade-config", str(path), *FLAGS)))
    alone = []
    for tier in tiers:
        own = [(f"--{key.replace('_', '-')}", str(v)) for key, v in tier["server_args"].items()]
        flat = [part for pair in own for part in pair]
        alone.append(serve(("--model-path", tier["model_path"], *flat, *FLAGS)))
    thresholds = chosen_thresholds(cascades[0], alone, size.chosen_on)
    print(f"the proxy accepts from {thresholds}", file=sys.stderr, flush=True)
    flags = [
        part
        for own, least in zip(alone, thresholds, strict=True)
        for part in ("--tier", f"http://127.0.0.1:{own}={least!r}")
    ]
    proxy = serve(flags, "bench.rivals.proxy")
    return [
        *(
            System(name=name, port=own, pids=[pid_of(own)])
            for name, own in zip((CASCADE, ANEW), cascades, strict=True)
        ),
        System(name=PROXY, port=proxy, pids=[pid_of(one) for one in (proxy, *alone)]),
        *(
            System(name=f"{tier['name']} alone", port=own, pids=[pid_of(own)])
            for tier, own in zip(tiers, alone, strict=True)
        ),
    ]


def estimates(system: System) -> Iterator[tuple[str, str, Estimate]]:
    """Metric, unit and value of every row of a system."""
    yield "accuracy", "1", mean(system.right)
    yield "requests per second", "1/s", spread(system.requests_per_s)
    yield "latency p50", "ms", spread(system.p50_ms)
    yield "latency p95", "ms", spread(system.p95_ms)
    yield "CPU a request", "s", spread(system.cpu_s)


def relations(systems: Sequence[System]) -> Iterator[tuple[str, str, str, Estimate]]:
    """Variant, metric, unit and value of the cascade beside every other."""
    cascade, *others = systems
    for other in others:
        ratio = median_ratio(cascade.requests_per_s, other.requests_per_s)
        yield f"{CASCADE} / {other.name}", "requests per second", "1", ratio
        ratio = median_ratio(cascade.cpu_s, other.cpu_s)
        yield f"{CASCADE} / {other.name}", "CPU a request", "1", ratio
        difference = mean_difference(cascade.right, other.right)
        yield f"{CASCADE} - {other.name}", "accuracy", "1", difference


def page(systems: Sequence[System], found: Sequence[tuple[str, str, str, Estimate]]) -> str:
    """Two tables: the systems, and the cascade beside each."""
    lines = [
        "| system | accuracy | requests/s | latency p50, p95 | CPU a request |",
        "|---|---|---|---|---|",
    ]
    for one in systems:
        p50, p95 = np.median(one.p50_ms), np.median(one.p95_ms)
        lines.append(
            f"| {one.name} | {np.mean(one.right):.3f} | {np.median(one.requests_per_s):.1f} | "
            f"{p50:.0f}, {p95:.0f} ms | {1000 * np.median(one.cpu_s):.0f} ms |"
        )
    lines += ["", "| | what | value | 95 % interval |", "|---|---|---|---|"]
    lines += [
        f"| {variant} | {metric} | {value.p50:.3f} | {value.low95:.3f} to {value.high95:.3f} |"
        for variant, metric, _, value in found
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write the rows and the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=32000, help="below that of the first server")
    parser.add_argument("--smoke", action="store_true", help="a few prompts; writes nothing")
    options = parser.parse_args()
    facts = facts_of_this_run("bench.rivals.compare")
    size = SMOKE if options.smoke else FULL
    with ExitStack() as stack:
        systems = started(stack, options.port, size)
        for number in range(-1, size.rounds):
            questions = sample("test", SEED + number, size.questions)
            for system in systems if number % 2 == 0 else systems[::-1]:
                if number < 0:
                    send_all(system.port, requests(questions), CONCURRENCY)
                    continue
                system.ask(questions)
                rate = system.requests_per_s[-1]
                print(f"{system.name}: {rate:.1f}/s", file=sys.stderr, flush=True)
    between = list(relations(systems))
    table = page(systems, between)
    print(table)
    if options.smoke:
        return
    own = [(system.name, *told) for system in systems for told in estimates(system)]
    save_rows(
        RESULTS / f"{BENCH}.csv",
        [
            make_row(
                facts,
                bench=BENCH,
                case=f"{CONFIG}, concurrency {CONCURRENCY}",
                variant=variant,
                metric=metric,
                unit=unit,
                value=value,
            )
            for variant, metric, unit, value in own + between
        ],
    )
    (RESULTS / f"{BENCH}.md").write_text(f"# Rivals\n\n{source_line(facts)}\n\n{table}\n")


if __name__ == "__main__":
    main()
