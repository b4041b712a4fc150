"""Groups of systems whose servers run at once, so that one model of each tier fits into memory.

Every group has all cores of the machine: a model that runs alone computes with as many threads as
there are cores, two share them. In rounds after the first, a group of fronts is the proxy alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.harness.admin import KEY, flush_caches
from bench.harness.client import send_all
from bench.harness.load import requests
from bench.real.live.choice import ROUTER, Choice
from bench.real.live.live_questions import LiveQuestion
from bench.rivals.fronts import ngrams
from bench.rivals.system import Exam, System
from bench.rivals.systems import (
    CASCADE,
    FLAGS,
    GATEWAY,
    PROXY,
    PlainTiers,
    Starter,
    cascade_at,
    cascade_server,
    gateway_server,
    plain_servers,
    proxy_server,
    router_server,
)
from cascadia_sglang.judge.calibration import save_calibration

TIERS = ("small", "large")
LARGE, CASCADES, FRONTS, SMALL = "larger tier", "cascade", "fronts", "smaller tier"
START_S = 600.0
# Prompts and answers are short; a pool for the whole context would take gigabytes.
POOL_TOKENS = 32_768
_FLAGS = (*FLAGS, "--admin-api-key", KEY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineup:
    """What the servers are started with.

    Attributes:
        folder: takes the cascade's file.
        models: folder of each tier's model, by its name.
        router: file of the n-gram router.
        litellm: its command; None where it is not compared.
        port: below that of the first server.
    """

    folder: Path
    models: Mapping[str, Path]
    choice: Choice
    router: Path
    litellm: Path | None
    port: int

    def cascade_file(self) -> Path:
        """The cascade's file, written."""
        calibration, path = self.folder / "small.json", self.folder / "cascade.json"
        save_calibration(self.choice.calibration, calibration)
        arguments = {"max_total_tokens": POOL_TOKENS}
        tiers = [
            {"name": tier, "model_path": str(self.models[tier]), "server_args": arguments}
            for tier in TIERS
        ]
        tiers[0]["calibration"] = str(calibration)
        # A score is from 0 to 1, and a score's threshold may lie beyond both ends.
        threshold = min(1.0, max(0.0, self.choice.settings[CASCADE].threshold))
        config = {"version": 1, "tiers": tiers, "routing": {"thresholds": [threshold]}}
        path.write_text(json.dumps(config))
        return path


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Systems that are ready, and the ports of their SGLang servers."""

    systems: Sequence[System]
    servers: Sequence[int]

    def refresh(self, system: System, questions: Sequence[LiveQuestion], exam: Exam) -> None:
        """Empty the caches, and answer some questions that do not count."""
        for port in self.servers:
            flush_caches(port)
        bodies = requests(questions, max_tokens=exam.max_tokens)
        send_all(system.port, bodies, exam.concurrency)


def start(stack: ExitStack, name: str, number: int, lineup: Lineup) -> Group:
    """Start a group, which lives as long as the stack.

    Args:
        number: of the round.
    """
    config = lineup.cascade_file()
    models = 1 if name in (LARGE, SMALL) else len(TIERS)
    threads = max(1, len(os.sched_getaffinity(0)) // models)
    starter = Starter(stack, lineup.port, start_s=START_S, threads=threads)
    if name == CASCADES:
        ports = starter.start([cascade_server(config, _FLAGS)])
        return Group(systems=[cascade_at(CASCADE, ports[0])], servers=ports)
    plain = plain_servers(config, _FLAGS)
    if name != FRONTS:
        tier = TIERS[-1] if name == LARGE else TIERS[0]
        ports = starter.start([plain[tier]])
        alone = PlainTiers.at({tier: ports[0]}).alone(tier, is_rival=name == LARGE)
        return Group(systems=[alone], servers=ports)
    ports = starter.start([*plain.values()])
    at = {name: [setting.threshold] for name, setting in lineup.choice.settings.items()}
    fronts = {PROXY: proxy_server(ports, at[PROXY])}
    if number == 0:
        if lineup.litellm is not None:
            fronts[GATEWAY] = gateway_server(ports, at[PROXY], lineup.litellm)
        tokenizer = str(lineup.models[TIERS[0]])
        fronts[ROUTER] = router_server(
            ngrams, ports, at[ROUTER], lineup.router, "--tokenizer", tokenizer
        )
    tiers = PlainTiers.at(dict(zip(plain, ports, strict=True)))
    front_ports = starter.start([*fronts.values()])
    return Group(
        systems=[
            tiers.behind(front, port) for front, port in zip(fronts, front_ports, strict=True)
        ],
        servers=ports,
    )
