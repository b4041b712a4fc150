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
    """A replica that starts, or that moves to other devices to make room for another."""

    kind: Literal["start", "move"]
    """`start`: a new replica. `move`: a replica that runs gets other devices."""
    replica: RunningReplica
    """The replica, with its new devices."""
    cost_s: float
    """Cost in seconds: `switching_cost_s` of the problem. The objective counts starts only."""


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """The quality on the half of the sample that did not choose the thresholds."""

    quality: float
    """Share of right answers on this half."""
    lower_bound: float
    """With probability `confidence` over samples, the quality is at least this."""
    confidence: float
    """Confidence of the bound."""
    rows: int
    """Rows of this half."""


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """How the thresholds were searched."""

    method: Method
    """Method of the search."""
    rounds: int
    """Steps of the method: boxes (`exact`), line searches (`penalty`), or points (`chebyshev`)."""
    best_s: float
    """Least objective at the quality floor on the exact method's grid, in seconds."""
    boxes: int
    """Boxes of the grid that were searched to find `best_s`."""
    deployments: int
    """Deployments that were solved."""


class FrontPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Thresholds that no others beat in both quality and latency."""

    thresholds: list[float]
    """One number per tier but the last."""
    quality: float
    """Share of right answers."""
    latency_s: float
    """Latency of the best deployment for these thresholds, in seconds."""


class CascadeSimulation(msgspec.Struct, frozen=True, kw_only=True):
    """Results of a simulation of the whole cascade."""

    objective_s: float
    """The objective in this run: p95 of the slowest tier's attempts, or mean end-to-end latency."""
    requests: int
    """Requests sent."""
    answered: int
    """Requests answered."""
    rate_per_s: float
    """Mean arrival rate of the requests, per second."""
    e2e_ms: dict[str, float | None]
    """End-to-end latency in milliseconds: `mean`, `p50`, `p95` and `p99`."""
    ttft_ms: dict[str, float | None]
    """Time to the first token in milliseconds: `mean`, `p50`, `p95` and `p99`."""
    slo_attainment: float
    """Share of the requests that were answered and met every latency target."""
    goodput_per_s: float
    """Requests per second that were answered and met every latency target."""
    busy: list[float | None]
    """Share of time that each tier's replicas work. null: another tier's replicas serve it."""
    neighbours: int = 0
    """Other plans that were simulated and were no better."""


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
    """The answer if there is no plan."""

    status: Literal["infeasible", "not_shown", "time_limit"]
    """`infeasible`: no plan keeps budget and floor. `time_limit`: the time ended before any plan.

    `not_shown`: there are plans, but the sample does not certify that they keep the quality floor.
    """
    reason: str
    """The reason, in one line."""
    tier: str | None = None
    """Name of the tier that lacks GPUs. null: none does."""
    lacks_gpus: int = 0
    """Number of GPUs that the tier lacks."""


def gap_of(objective_s: float, bound_s: float) -> float:
    """Share of the objective that a better plan could at most save."""
    return (objective_s - bound_s) / max(objective_s, 1e-9)
