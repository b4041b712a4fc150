"""The deployment level as columns: one for every way to run one pool under one candidate.

Shape legend: C columns, R resources (types of GPU, and the budget over all types).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cascadia_sglang.planner.problem import Candidate, Deployment, Objective, Problem

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


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

    objective: Objective
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
            choices = sorted(choices_of(problem, candidate, name), key=lambda one: one[0].gpus)
            for choice, value in choices:
                uses = uses_of(choice, resources)
                if all(used <= there for used, there in zip(uses, capacity, strict=True)):
                    switching = _switching_s(problem, name, choice)
                    rows.append((index, pool, value, switching, uses, choice))
    # No plan takes more than every pool's largest column together.
    uses_CR = np.array([row[4] for row in rows], dtype=np.int64).reshape(-1, len(resources))
    most_R = len(problem.pools) * uses_CR.max(0, initial=0)
    columns = Columns(
        objective=problem.objective,
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
    if candidate.deployments:
        for deployment in candidate.deployments:
            if deployment.pool == pool and fits(problem, deployment):
                latencies = [deployment.latency_s[problem.tiers[tier].name] for tier in tiers]
                choice = Choice(gpus=deployment.gpus, deployment=deployment)
                yield choice, _value(problem, candidate, tiers, latencies)
        return
    tables = [candidate.latency_s[tier] for tier in tiers]
    for gpus in sorted(set.intersection(*(set(table) for table in tables))):
        latencies = [table[gpus] for table in tables]
        yield Choice(gpus=gpus, deployment=None), _value(problem, candidate, tiers, latencies)


def _value(
    problem: Problem, candidate: Candidate, tiers: Sequence[int], latencies: Sequence[float]
) -> float:
    if problem.objective == "bottleneck":
        return max(latencies)
    return sum(
        candidate.shares[tier] * latency for tier, latency in zip(tiers, latencies, strict=True)
    )


def fits(problem: Problem, deployment: Deployment) -> bool:
    """Whether a shape's weights fit its devices and its devices fit the nodes.

    Tensor parallelism stays inside a node. A replica larger than a node takes whole nodes.
    """
    kind = next(one for one in problem.cluster if one.gpu == deployment.gpu)
    size = deployment.replica_gpus
    if deployment.tp_size > kind.gpus_per_node:
        return False
    if size > kind.gpus_per_node and size % kind.gpus_per_node:
        return False
    needed = [problem.tiers[tier].memory_gib or 0.0 for tier in problem.tiers_of(deployment.pool)]
    return kind.memory_gib is None or max(needed) / size <= kind.memory_gib


def _switching_s(problem: Problem, pool: str, choice: Choice) -> float:
    """What it costs to start the replicas that do not run yet in this shape."""
    deployment = choice.deployment
    if deployment is None:
        return 0.0
    alike = sum(
        replica.pool == pool
        and (replica.gpu, replica.tp_size, replica.pp_size)
        == (deployment.gpu, deployment.tp_size, deployment.pp_size)
        for replica in problem.running
    )
    return problem.switching_cost_s * max(0, deployment.replicas - alike)
