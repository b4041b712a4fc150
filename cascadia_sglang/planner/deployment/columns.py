"""The deployment level as columns: one for every way to run one pool under one candidate.

Shape legend: C columns, R resources (types of GPU, and the budget over all types).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cascadia_sglang.arrays import BoolArray, FloatArray, IntArray
from cascadia_sglang.planner.problem.problem import Candidate, Deployment, LatencyObjective, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """A plan picks one candidate, and of it one column a pool.

    Columns are in groups, one a candidate and pool, and in a group by the GPUs they take.

    Attributes:
        objective: `bottleneck` minimises the largest value of a plan's columns, `path` their sum;
            either adds their switching.
        candidate_C, pool_C: indices; the candidate's counts those of the problem.
        value_C: seconds. `bottleneck`: the latency of the slowest tier of the pool; `path`: the
            latencies of its tiers, each times the share of requests that reach it.
        switching_C: seconds that starting the column's new replicas is worth.
        uses_CR: GPUs of each resource.
        capacity_R: GPUs there are; `resources` names them.
    """

    objective: LatencyObjective
    pools: int
    candidate_C: IntArray
    pool_C: IntArray
    value_C: FloatArray
    switching_C: FloatArray
    uses_CR: IntArray
    capacity_R: IntArray
    resources: tuple[str, ...]

    def groups(self) -> IntArray:
        """The group [C] of every column, rising."""
        return self.candidate_C * self.pools + self.pool_C

    def only(self, kept_C: BoolArray) -> Columns:
        """The marked columns alone."""
        return Columns(
            objective=self.objective,
            pools=self.pools,
            candidate_C=self.candidate_C[kept_C],
            pool_C=self.pool_C[kept_C],
            value_C=self.value_C[kept_C],
            switching_C=self.switching_C[kept_C],
            uses_CR=self.uses_CR[kept_C],
            capacity_R=self.capacity_R,
            resources=self.resources,
        )

    def objective_s(self, picks: Sequence[int]) -> float:
        """What a plan of these columns, one a pool, is worth."""
        values = self.value_C[list(picks)].tolist()
        combined = max(values) if self.objective == "bottleneck" else sum(values)
        return float(combined + sum(self.switching_C[list(picks)].tolist()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a column stands for.

    Attributes:
        gpus: of the pool.
        deployment: its shape and type of GPU; None where a table gives counts alone.
    """

    gpus: int
    deployment: Deployment | None


def build_columns(problem: Problem, indices: Sequence[int]) -> tuple[Columns, list[Choice]]:
    """Columns of some of a problem's candidates, and what each stands for.

    Left out is what no plan can hold: more GPUs than there are, and shapes whose weights do not
    fit the memory of their devices or whose devices do not fit the nodes.
    """
    resources, capacity = resources_of(problem)
    rows: list[tuple[int, int, float, float, list[int], Choice]] = []
    for index in indices:
        candidate = problem.candidates[index]
        for pool, name in enumerate(problem.pools):
            choices = sorted(choices_of(problem, candidate, name), key=lambda pair: pair[0].gpus)
            for choice, value in choices:
                uses = uses_of(choice, resources)
                if all(used <= there for used, there in zip(uses, capacity, strict=True)):
                    deployment = choice.deployment
                    switching = 0.0 if deployment is None else switching_s(problem, deployment)
                    rows.append((index, pool, value, switching, uses, choice))
    # No plan takes more than every pool's largest column together.
    uses_CR = np.array([row[4] for row in rows], dtype=np.int64).reshape(-1, len(resources))
    most_R = len(problem.pools) * uses_CR.max(0, initial=0)
    columns = Columns(
        objective=problem.latency_objective,
        pools=len(problem.pools),
        candidate_C=np.array([row[0] for row in rows], dtype=np.int64),
        pool_C=np.array([row[1] for row in rows], dtype=np.int64),
        value_C=np.array([row[2] for row in rows], dtype=np.float64),
        switching_C=np.array([row[3] for row in rows], dtype=np.float64),
        uses_CR=uses_CR,
        capacity_R=np.minimum(np.array(capacity, dtype=np.int64), most_R),
        resources=resources,
    )
    return columns, [row[5] for row in rows]


def resources_of(problem: Problem) -> tuple[tuple[str, ...], list[int]]:
    """Names and sizes; the budget is one of its own where it is less than all types together."""
    there = {kind.gpu: kind.nodes * kind.gpus_per_node for kind in problem.cluster}
    if len(there) < 2:
        return ("gpu_budget",), [min([problem.gpu_budget, *there.values()])]
    if problem.gpu_budget >= sum(there.values()):
        return tuple(there), list(there.values())
    return ("gpu_budget", *there), [problem.gpu_budget, *there.values()]


def uses_of(choice: Choice, resources: tuple[str, ...]) -> list[int]:
    gpu = None if choice.deployment is None else choice.deployment.gpu
    return [choice.gpus if name in ("gpu_budget", gpu) else 0 for name in resources]


def choices_of(problem: Problem, candidate: Candidate, pool: str) -> Iterator[tuple[Choice, float]]:
    """Ways to run a pool under a candidate, whatever the budget, and the value of each."""
    tiers = problem.tiers_of(pool)
    shares_T = [candidate.shares[tier] for tier in tiers]

    def value_of(latencies_T: Sequence[float]) -> float:
        latencies_T1 = np.array(latencies_T, np.float64)[:, None]
        return float(combined(problem.latency_objective, shares_T, latencies_T1)[0])

    if candidate.deployments:
        for deployment in candidate.deployments:
            if deployment.pool == pool and fits(problem, deployment):
                latencies = [deployment.latency_s[problem.tiers[tier].name] for tier in tiers]
                choice = Choice(gpus=deployment.gpus, deployment=deployment)
                yield choice, value_of(latencies)
        return
    tables = [candidate.latency_s[tier] for tier in tiers]
    for gpus in sorted(set.intersection(*(set(table) for table in tables))):
        latencies = [table[gpus] for table in tables]
        yield Choice(gpus=gpus, deployment=None), value_of(latencies)


def combined(
    objective: LatencyObjective, shares_T: Sequence[float], latency_s_Tn: FloatArray
) -> FloatArray:
    """What ways to run a pool are worth, [n]: by its slowest tier, or by all that wait in it.

    Args:
        shares_T: of requests that reach each of the pool's tiers.
        latency_s_Tn: of these.
    """
    if objective == "bottleneck":
        value_n: FloatArray = latency_s_Tn.max(axis=0)
    else:
        value_n = np.zeros(latency_s_Tn.shape[1])
        for share, latency_s_n in zip(shares_T, latency_s_Tn, strict=True):
            # Nobody waits in a tier that nobody reaches.
            value_n += share * latency_s_n if share else 0.0
    return value_n


def fits(problem: Problem, deployment: Deployment) -> bool:
    """Whether a shape's weights fit its devices and its devices fit the nodes.

    Tensor parallelism stays inside a node. A replica larger than a node takes whole nodes.
    """
    kind = next(gpu_type for gpu_type in problem.cluster if gpu_type.gpu == deployment.gpu)
    size = deployment.replica_gpus
    if deployment.tp_size > kind.gpus_per_node:
        return False
    if size > kind.gpus_per_node and size % kind.gpus_per_node:
        return False
    return kind.memory_gib is None or needed_gib(problem, deployment.pool) / size <= kind.memory_gib


def needed_gib(problem: Problem, pool: str) -> float:
    """What a replica must have: of tiers that share workers the most, of all workers the sum."""
    needed: dict[str, float] = {}
    for index in problem.tiers_of(pool):
        tier = problem.tiers[index]
        needed[tier.workers] = max(needed.get(tier.workers, 0.0), tier.memory_gib or 0.0)
    return sum(needed.values())


def switching_s(problem: Problem, deployment: Deployment) -> float:
    """What it costs to start the replicas that do not run yet in this shape."""
    running = sum(deployment.matches(replica) for replica in problem.running)
    return problem.switching_cost_s * max(0, deployment.replicas - running)
