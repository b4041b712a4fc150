"""A plan as it is written out."""

from __future__ import annotations

from typing import Literal

import msgspec

from cascadia_sglang.capacity.types import RunningReplica
from cascadia_sglang.planner.problem.problem import Deployment, Method
from cascadia_sglang.planner.simulation.scenario import Scenario

# `optimal` is proved; `feasible` keeps budget and floor, and something better may exist;
# `time_limit` is what the solver had when its time was over.
Status = Literal["optimal", "feasible", "time_limit"]


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """A replica that starts, or that goes to other devices so that another finds room.

    `cost_s` is what `switching_cost_s` of the problem says; of a move it is not in the objective.
    """

    kind: Literal["start", "move"]
    replica: RunningReplica
    cost_s: float


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """What the half of the sample that chose nothing says of the quality.

    With probability `confidence` over samples, the quality is at least `lower_bound`.
    """

    quality: float
    lower_bound: float
    confidence: float
    rows: int


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """How the thresholds were found.

    `rounds` are the method's own steps: boxes of `exact`, searches along one tier's thresholds of
    `penalty`, points on the front of `chebyshev`. `best_s` is the least objective at the floor
    over all thresholds of the exact method's grid, found by looking at `boxes` of them with
    `deployments` deployments solved.
    """

    method: Method
    rounds: int
    best_s: float
    boxes: int
    deployments: int


class FrontPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Thresholds that none of the front beats in both, with the best deployment's latency."""

    thresholds: list[float]
    quality: float
    latency_s: float


class CascadeSimulation(msgspec.Struct, frozen=True, kw_only=True):
    """What a simulation of the whole cascade says, as it would be served.

    `objective_s` is what the problem minimises, in this run: the p95 of the slowest tier's
    attempts, or the mean end to end. `e2e_ms` and `ttft_ms` hold `mean`, `p50`, `p95` and `p99`,
    `busy` the share of time that each tier's replicas work, null where another tier's serve it.
    `neighbours` counts the plans that were simulated beside this one and did no better.
    """

    objective_s: float
    requests: int
    answered: int
    rate_per_s: float
    e2e_ms: dict[str, float | None]
    ttft_ms: dict[str, float | None]
    slo_attainment: float
    goodput_per_s: float
    busy: list[float | None]
    neighbours: int = 0


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A solved problem: thresholds, GPUs per tier, and a bound on any better plan.

    A plan from a workload was chosen by a simulation of the whole cascade. Then `objective_s`,
    `bound_s` and `gap` come from latencies of single replicas.
    """

    thresholds: list[float]
    """One number per tier but the last."""
    allocation: list[int]
    """GPUs of every tier. Tiers of one pool show the same GPUs."""
    objective_s: float
    """What the problem minimises, in seconds, switching included."""
    quality: float
    """Share of right answers."""
    bound_s: float
    """No plan is below this: of the candidates, or of the thresholds on the exact grid."""
    gap: float
    """(objective_s - bound_s) / max(objective_s, 1e-9)."""
    status: Status
    """`optimal`: proved. `feasible`: a better plan may exist. `time_limit`: the best so far."""
    solve_s: float
    """Seconds that the planner took."""
    candidate: int
    """Index among the problem's candidates."""
    shares: list[float]
    """Share of requests that reach each tier."""
    switching_s: float = 0.0
    """Part of the objective that the starts of replicas cost, in seconds."""
    deployments: list[Deployment] = []
    """Shape and replicas of each pool."""
    placement: list[RunningReplica] = []
    """The devices of each replica."""
    moves: list[Move] = []
    """Replicas to start, or to move so that another replica finds room."""
    search: Search | None = None
    """How the thresholds were searched."""
    certificate: Certificate | None = None
    """What the sample shows of the quality."""
    front: list[FrontPoint] = []
    """Thresholds that no others beat in both quality and latency."""
    setup: Scenario | None = None
    """The simulated cascade, for `cascadia simulate`."""
    simulated: CascadeSimulation | None = None
    """Results of the simulation."""


class NoPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The answer where there is no plan; `tier` is the one that lacks GPUs, where one does.

    `not_shown`: there are plans, but the sample does not certify that they keep the quality floor.
    """

    status: Literal["infeasible", "not_shown", "time_limit"]
    reason: str
    tier: str | None = None
    lacks_gpus: int = 0


def gap_of(objective_s: float, bound_s: float) -> float:
    """Share of the objective that a better plan could at most save."""
    return (objective_s - bound_s) / max(objective_s, 1e-9)
