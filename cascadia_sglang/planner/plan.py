"""A plan as it is written out."""

from __future__ import annotations

from typing import Literal

import msgspec

from cascadia_sglang.capacity.types import RunningReplica
from cascadia_sglang.planner.problem.problem import Deployment, Method, Objective
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
    above_surfaces: float
    """How far the objective is above that of the surfaces, as a share."""
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
    """Other plans that were considered."""


class RelaxedBound(msgspec.Struct, frozen=True, kw_only=True):
    """What no plan of the searched thresholds reaches: a bound without queues and without company.

    Every request is alone on the fastest shapes within the budget.
    """

    mean_e2e_ms: float
    """No plan has a lower mean end-to-end latency, in milliseconds."""
    slo_attainment: float
    """No plan has a larger share of requests that meet the targets of `slo`."""


class LeftOver(msgspec.Struct, frozen=True, kw_only=True):
    """GPUs of the budget that the plan leaves free."""

    gpus: int
    """How many there are."""
    gain: float
    """Share of the objective that the simulated plans with more GPUs gain at most."""


class LeastCost(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the least cost at which the targets of `slo` are met."""

    unit: Literal["GPUs", "price per hour"]
    """What the cost counts."""
    cost: float
    """Cost of this plan."""
    bound: float
    """No plan of these thresholds costs less and meets the targets."""
    thresholds: list[list[float]]
    """The thresholds that were searched."""
    simulated: int
    """Plans that were simulated."""
    left_out: int
    """Ways to run a pool that cannot meet the targets, or miss them clearly."""


class ShareInterval(msgspec.Struct, frozen=True, kw_only=True):
    """An interval of a share, with 95 % confidence: 2.5 % on each side."""

    low: float
    """Lower end."""
    high: float
    """Upper end."""


class SampleFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How well the sample knows the plan.

    The intervals hold for thresholds that the same rows did not choose. As they did, the quality is
    rather lower.
    """

    rows: int
    """Rows of the sample."""
    quality: ShareInterval
    """Interval of the share of right answers."""
    shares: list[ShareInterval]
    """Interval of the share of requests that reach each tier."""
    certifiable: float
    """The highest quality floor that so many rows could certify with 95 % confidence.

    Half of them certify, and none of these is wrong.
    """


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A solved problem: thresholds, GPUs per tier, and a bound on any better plan.

    A plan from a workload was chosen by a simulation of the whole cascade. Then `objective_s`,
    `bound_s` and `gap` come from surfaces, which are latencies of single replicas, and `bound_of`
    says so.
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
    """No plan is below this: of the candidates, or of the thresholds on the exact grid.

    0 where the time limit came before all surfaces were built.
    """
    gap: float
    """(objective_s - bound_s) / max(objective_s, 1e-9)."""
    status: Status
    """`optimal`: proved, for what `bound_of` names, or for `least_cost` with objective `slo`.

    `feasible`: a better plan may exist. `time_limit`: the best so far."""
    solve_s: float
    """Seconds that the planner took."""
    bound_of: Literal["tables", "surfaces"] = "tables"
    """What `bound_s` and `gap` hold for: given tables, or surfaces of single replicas."""
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
    slo_met: bool | None = None
    """Whether the simulation meets the targets of `slo`. null: there are none."""
    relaxed: RelaxedBound | None = None
    """What no plan within the budget reaches."""
    least_cost: LeastCost | None = None
    """For the objective `slo`, what is known of the least cost."""
    left_over: LeftOver | None = None
    """GPUs of the budget that the plan does not use."""
    price_per_hour: float | None = None
    """Price of the plan's GPUs for an hour."""
    sample: SampleFacts | None = None
    """How well the sample knows quality and shares."""


class SweepPoint(msgspec.Struct, frozen=True, kw_only=True):
    """The best plan within a number of GPUs, simulated whole."""

    gpus: int
    """GPUs of the plan."""
    price_per_hour: float | None
    """Price of these GPUs for an hour. null: the problem has no prices."""
    mean_s: float
    """Mean end-to-end latency in seconds."""
    p95_s: float
    """95th percentile of the end-to-end latency in seconds."""
    slo_attainment: float
    """Share of the requests that meet the targets of `slo`."""
    thresholds: list[float]
    """One number per tier but the last."""
    deployments: list[Deployment]
    """Shape and replicas of each pool."""


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """What rising numbers of GPUs give."""

    objective: Objective
    """The objective of the problem."""
    points: list[SweepPoint]
    """Plans by rising GPUs, or price. Each is better than the one before in the objective."""
    knee: int | None
    """Index of the point after which further GPUs gain little. null: fewer than three points.

    It is farthest below the line from the first p95 to the last (Satopaa et al., Kneedle, 2011).
    """
    first_within_slo: int | None
    """Index of the first point that meets the targets of `slo`. null: none does."""
    is_complete: bool
    """Whether there was time for all points."""


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
