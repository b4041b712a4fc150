"""What a real server did with a trace, and the same trace for the simulator.

Shape legend: R requests, T tiers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.harness.client import Round, send_at
from bench.harness.load import questions, requests
from cascadia_sglang.planner.simulation.paths import Paths
from cascadia_sglang.planner.simulation.result import SimulationResult
from cascadia_sglang.planner.simulation.simulator import simulate
from cascadia_sglang.planner.simulation.tiers import SimulatedTier
from cascadia_sglang.planner.speed.profile import HostTimes
from cascadia_sglang.planner.workload.workload import Workload, build_workload
from demo.tasks.families import MAX_ANSWER_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedRun:
    """A real run.

    Attributes:
        e2e_s: latencies in the order of the requests.
        workload, paths: what came and how each request climbed, as the server's answers tell.
    """

    e2e_s: list[float]
    workload: Workload
    paths: Paths


def observe(
    port: int, at_s: Sequence[float], seed: int, tiers: Sequence[str], pinned: str | None
) -> ObservedRun:
    """Send prompts of the demo's test split at these times and note what came of them.

    Args:
        tiers: names of the simulated tiers; one for a server of one model.
        pinned: the tier that a cascade is asked for, None for the cascade or a plain server.
    """
    prompts = questions(seed, len(at_s))
    headers = None if pinned is None else {"x-cascadia-tier": pinned}
    sent = send_at(port, requests(prompts, headers=headers), at_s)
    metas = [reply.json()["meta_info"] for reply in sent.replies]
    inputs = [meta["prompt_tokens"] for meta in metas]
    tokens_RT = np.ones((len(metas), len(tiers)), np.int64)
    last_R = np.zeros(len(metas), np.int64)
    for row, meta in enumerate(metas):
        if len(tiers) == 1:
            tokens_RT[row, 0] = meta["completion_tokens"]
            continue
        for attempt in meta["cascadia"]["attempts"]:
            last_R[row] = tiers.index(attempt["tier"])
            tokens_RT[row, last_R[row]] = max(1, attempt["tokens"])
    workload = build_workload(
        at_s,
        inputs,
        tokens_RT[:, 0],
        hash_ids=prefix_ids([row.prompt for row in prompts], inputs),
        block_tokens=1,
    )
    paths = Paths(
        first_tier_R=np.zeros(len(metas), np.int64),
        last_tier_R=last_R,
        tokens_RT=tokens_RT,
        limit_tokens_R=np.full(len(metas), MAX_ANSWER_TOKENS, np.int64),
    )
    return ObservedRun(e2e_s=_seconds(sent), workload=workload, paths=paths)


def replay(
    observed: ObservedRun, tiers: Sequence[SimulatedTier], host: HostTimes
) -> SimulationResult:
    """Simulate what a real server did."""
    return simulate(observed.workload, observed.paths, tiers, host=host)


def prefix_ids(prompts: Sequence[str], tokens: Sequence[int]) -> list[list[int]]:
    """An id for every prefix; the demo's tokens are characters and, at the end, a marker."""
    numbers: dict[str, int] = {}
    return [
        [
            numbers.setdefault(prompt[:end], len(numbers))
            for end in range(1, min(len(prompt), count - 1) + 1)
        ]
        for prompt, count in zip(prompts, tokens, strict=True)
    ]


def _seconds(sent: Round) -> list[float]:
    return [reply.seconds for reply in sent.replies]
