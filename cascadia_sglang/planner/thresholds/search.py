"""The routing level: thresholds from a sample and latency curves, by one of three methods.

`exact` minimises latency over the grid under the floor; `penalty` is the paper's search;
`chebyshev` draws a front and takes its fastest point at the floor. What the last two find is
measured against the first: the plan's bound and gap are over all thresholds of the exact grid and
all allocations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from cascadia_sglang.errors import FloorNotShownError, InfeasiblePlanError
from cascadia_sglang.planner.deployment.allocation import TOLERANCE, allocate
from cascadia_sglang.planner.deployment.infeasibility import shortage
from cascadia_sglang.planner.latency.curves import (
    BestDeployment,
    Deploy,
    Latencies,
)
from cascadia_sglang.planner.plan import Certificate, FrontPoint, Plan, Search, gap_of
from cascadia_sglang.planner.problem.problem import Problem, RoutingSettings
from cascadia_sglang.planner.thresholds.certificate import (
    certify,
    effective_rows,
    halves,
    more_rows,
    rows_needed,
)
from cascadia_sglang.planner.thresholds.chebyshev import front
from cascadia_sglang.planner.thresholds.exact import Proof, minimise
from cascadia_sglang.planner.thresholds.grid import GridPoint, GridPoints, at_the_floor, penalised
from cascadia_sglang.planner.thresholds.penalty import (
    GRID_POINTS,
    coordinate_search,
    first_position,
)
from cascadia_sglang.planner.thresholds.replay import Replay, Sample, build_sample, threshold_grid

# Standard deviations of the certifying half's mean by which the chosen half must exceed the floor:
# what is tried, safest first.
MARGINS = (6.0, 5.0, 4.0, 3.5, 3.0, 2.5, 2.0, 1.5, 1.0, 0.5, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenThresholds:
    """A point of a method's grid, and how it was found; `rounds` are its own steps."""

    point: GridPoint
    thresholds: list[float]
    shares: list[float]
    rounds: int


def choose_and_allocate(
    problem: Problem, latencies: Latencies, *, time_limit_s: float, with_front: bool = False
) -> Plan:
    """Solve a checked problem with a calibration sample and what is known of latency.

    Args:
        with_front: whether the plan holds the front of latency against quality too.

    Raises:
        InfeasiblePlanError: if no thresholds reach the floor with a deployment.
        FloorNotShownError: if none is certified.
        PlanError: if the method's normalisation is undefined for this sample.
    """
    settings = problem.routing
    sample = build_sample(problem.calibration)
    deploy = latencies.deploy
    choosing, certifying = sample, None
    if settings.confidence is not None:
        ours, theirs = halves(sample, settings.seed)
        if len(theirs) == 0:
            raise FloorNotShownError(_too_small(problem, 0))
        choosing, certifying = sample.rows(ours), sample.rows(theirs)
    floor = problem.quality_floor or 0.0
    points = GridPoints(Replay(choosing, threshold_grid(choosing, settings.quantiles)), deploy)
    proof = minimise(points, at_the_floor(floor))
    if proof.point is None:
        raise _infeasible(problem, latencies, points, floor)
    certificate: Certificate | None = None
    chosen: ChosenThresholds | None
    if certifying is not None:
        chosen, certificate = _certified(problem, choosing, certifying, deploy, points)
    elif settings.method == "exact":
        chosen = _chosen(points, proof.point, proof.boxes)
    else:
        chosen = searcher(settings, choosing, deploy, points)(floor)
    if chosen is None:
        raise InfeasiblePlanError(
            f"routing.method {settings.method} finds no thresholds at quality_floor {floor}; "
            f"exact does, at {proof.value:.6g} s"
        )
    plan = _plan(problem, latencies, chosen, certificate, proof, points, time_limit_s)
    return msgspec.structs.replace(plan, front=front_of(sample, deploy)) if with_front else plan


def front_of(sample: Sample, deploy: Deploy) -> list[FrontPoint]:
    """The front of latency against quality on a grid of 21 quantiles, fastest first.

    Raises:
        PlanError: if the last tier is no better than the first, or nothing serves the requests.
    """
    points = GridPoints(Replay(sample, threshold_grid(sample, GRID_POINTS)), deploy)
    return [
        FrontPoint(
            thresholds=points.replay.thresholds(point.position),
            quality=point.quality,
            latency_s=point.latency_s,
        )
        for point in front(points)
        if math.isfinite(point.latency_s)
    ]


def _plan(
    problem: Problem,
    latencies: Latencies,
    chosen: ChosenThresholds,
    certificate: Certificate | None,
    proof: Proof,
    points: GridPoints,
    time_limit_s: float,
) -> Plan:
    quality = chosen.point.quality if certificate is None else certificate.quality
    candidate = latencies.candidate(chosen.thresholds, chosen.shares, quality)
    explicit = msgspec.structs.replace(problem, candidates=[candidate])
    plan = allocate(explicit, time_limit_s=time_limit_s)
    # A finer or coarser grid than the exact one may hold something better than its best.
    bound_s = min(plan.bound_s, proof.bound)
    search_facts = Search(
        method=problem.routing.method,
        rounds=chosen.rounds,
        boxes=proof.boxes,
        deployments=points.deployments,
        best_s=proof.value,
    )
    gap = gap_of(plan.objective_s, bound_s)
    return msgspec.structs.replace(
        plan,
        bound_s=bound_s,
        gap=gap,
        status="feasible" if plan.status == "optimal" and gap > TOLERANCE else plan.status,
        search=search_facts,
        certificate=certificate,
    )


def searcher(
    settings: RoutingSettings, sample: Sample, deploy: Deploy, exact_points: GridPoints
) -> Callable[[float], ChosenThresholds | None]:
    """The method asked for: from a floor to thresholds, or to None where it finds none.

    Args:
        exact_points: of the exact method's grid; the others make their own of 21 quantiles.
    """
    if settings.method == "exact":

        def exact(floor: float) -> ChosenThresholds | None:
            proof = minimise(exact_points, at_the_floor(floor))
            return _chosen(exact_points, proof.point, proof.boxes)

        return exact
    points = GridPoints(Replay(sample, threshold_grid(sample, GRID_POINTS)), deploy)
    if settings.method == "chebyshev":
        drawn = front(points)

        def fastest_on_front(floor: float) -> ChosenThresholds | None:
            at_floor = [point for point in drawn if point.quality >= floor]
            return _chosen(points, at_floor[0] if at_floor else None, len(drawn))

        return fastest_on_front
    start = first_position(points.replay)
    reference_s = points.latency_s(start)
    if math.isinf(reference_s) or reference_s <= 0:
        # L_ref only sets the unit against which mu is weighed.
        reference_s = 1.0

    def penalty(floor: float) -> ChosenThresholds | None:
        value = penalised(points, reference_s, floor, settings.penalty_weight)
        result = coordinate_search(points, value, start)
        is_good = result.point.quality >= floor and math.isfinite(result.point.latency_s)
        return _chosen(points, result.point if is_good else None, result.rounds)

    return penalty


def _chosen(points: GridPoints, point: GridPoint | None, rounds: int) -> ChosenThresholds | None:
    if point is None:
        return None
    replay = points.replay
    return ChosenThresholds(
        point=point,
        thresholds=replay.thresholds(point.position),
        shares=replay.shares(point.position),
        rounds=rounds,
    )


def _certified(
    problem: Problem, choosing: Sample, certifying: Sample, deploy: Deploy, points: GridPoints
) -> tuple[ChosenThresholds, Certificate]:
    """The fastest choice that the other half certifies, trying the safest first."""
    settings, floor = problem.routing, problem.quality_floor or 0.0
    confidence = settings.confidence or 0.0
    deviation = math.sqrt(floor * (1 - floor) / effective_rows(certifying.weight_N))
    search = searcher(settings, choosing, deploy, points)
    best: tuple[ChosenThresholds, Certificate] | None = None
    least, safest = 0.0, None
    for margin in MARGINS:
        chosen = search(min(1.0, floor + margin * deviation))
        if chosen is None:
            continue
        certificate = certify(certifying, chosen.thresholds, confidence)
        least = max(least, certificate.lower_bound)
        safest = safest or chosen
        if certificate.lower_bound < floor:
            break
        best = chosen, certificate
    if best is None:
        more = (
            None if safest is None else more_rows(certifying, safest.thresholds, floor, confidence)
        )
        raise FloorNotShownError(
            f"quality_floor {floor} is not shown with this sample: "
            + (
                "more rows like these are not expected to show it"
                if more is None
                else f"about {more:,} more are needed"
            )
            + f"; the safest thresholds are good for {least:.4f} at confidence {confidence:g}; "
            + _too_small(problem, len(certifying.weight_N))
        )
    return best


def _too_small(problem: Problem, rows: int) -> str:
    floor, confidence = problem.quality_floor or 0.0, problem.routing.confidence or 0.0
    if floor >= 1:
        return f"no sample certifies a floor of 1, and {rows} rows were left to certify"
    needed = rows_needed(floor, confidence)
    if rows >= needed:
        return f"{rows} rows were left to certify"
    return f"{rows} rows were left to certify, and even without a wrong answer {needed} are needed"


def _infeasible(
    problem: Problem, latencies: Latencies, points: GridPoints, floor: float
) -> InfeasiblePlanError:
    """The floor that no thresholds reach, or the tier that lacks GPUs where they do."""
    free = GridPoints(points.replay, lambda _: BestDeployment(latency_s=0.0, allocation=()))
    best = minimise(free, lambda _, quality: 1 - quality).point
    if best is None or best.quality < floor:
        reach = 0.0 if best is None else best.quality
        return InfeasiblePlanError(
            f"quality_floor {floor} is above what any thresholds reach: at most {reach:.4f}"
        )
    replay = points.replay
    position = best.position
    candidate = latencies.candidate(
        replay.thresholds(position), replay.shares(position), best.quality
    )
    return shortage(msgspec.structs.replace(problem, candidates=[candidate]), [0])
