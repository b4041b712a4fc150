"""Simulates plans whole, side by side, and keeps the best that can be placed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.capacity.placement import place_freely
from cascadia_sglang.errors import InfeasiblePlanError
from cascadia_sglang.planner.deployment.plan_placement import with_placement
from cascadia_sglang.planner.latency.simulated import ShapeLatencies
from cascadia_sglang.planner.latency.surfaces import ParallelShape
from cascadia_sglang.planner.objective import run_value_s
from cascadia_sglang.planner.plan import CascadeSimulation, Plan
from cascadia_sglang.planner.problem.problem import Problem
from cascadia_sglang.planner.progress import JobRunner
from cascadia_sglang.planner.simulation.paths import Paths
from cascadia_sglang.planner.simulation.result import SimulationResult
from cascadia_sglang.planner.simulation.run_limit import RunLimit
from cascadia_sglang.planner.simulation.run_scenario import run_scenario_within, scenario_paths
from cascadia_sglang.planner.speed.profile import Profile
from cascadia_sglang.planner.whole.choice import PlanChoice, scenario_of
from cascadia_sglang.planner.whole.least_times import LeastTimes
from cascadia_sglang.planner.workload.workload import Workload

# Runs between two looks at what the best run came to: the same whatever the threads.
BATCH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceRun:
    """A choice that was simulated whole.

    Attributes:
        value_s: of the objective, switching included.
    """

    choice: PlanChoice
    outcome: SimulationResult
    value_s: float

    @property
    def p95_s(self) -> float:
        """Of the requests' latency."""
        return self.outcome.quantile_s(0.95)


class ChoiceRuns:
    """Runs choices on a workload."""

    def __init__(
        self,
        problem: Problem,
        latencies: ShapeLatencies,
        workload: Workload,
        runner: JobRunner,
    ) -> None:
        self.problem = problem
        self.workload = workload
        self.runner = runner
        self.least = LeastTimes(problem, workload)
        self._latencies = latencies
        self._paths: dict[tuple[float, ...], Paths] = {}
        # An answer leaves whole, so its first token comes with its last.
        targets = [ms for ms in (problem.slo.e2e_ms, problem.slo.ttft_ms) if ms is not None]
        self.late_s = min(targets, default=math.inf) / 1e3

    def shapes(self, choice: PlanChoice) -> list[ParallelShape]:
        """The shape of every tier."""
        by_pool = {
            deployment.pool: self._latencies.shape_of(deployment)
            for deployment in choice.deployments
        }
        return [by_pool[tier.pool_name].of_tier(tier.name) for tier in self.problem.tiers]

    def least_s(self, choice: PlanChoice) -> FloatArray:
        """Seconds that every request takes at least, whatever the replicas, [R]."""
        return self.least.request_s(choice.point.shares, self.shapes(choice))

    def least_value_s(self, choice: PlanChoice) -> float:
        """What the objective is at least, whatever the replicas."""
        if self.problem.latency_objective == "bottleneck":
            least_s = self.least.slowest_s(choice.point.shares, self.shapes(choice))
        else:
            least_s = float(self.least_s(choice).mean())
        # Rounding must not cut off a plan that is as good.
        return least_s * (1.0 - 1e-9) + choice.switching_s

    def within(self, choices: Sequence[PlanChoice], most_s: float) -> list[ChoiceRun]:
        """Simulate choices; those are left out whose value is certain to exceed a limit, and
        those that had not begun when the time was over."""

        def run(choice: PlanChoice) -> ChoiceRun | None:
            limit = RunLimit(slowest_p95_s=most_s - choice.switching_s)
            if self.problem.latency_objective == "path":
                limit = RunLimit(mean_s=most_s - choice.switching_s, least_s_R=self.least_s(choice))
            return self.run(choice, limit)

        allowed = [choice for choice in choices if self.least_value_s(choice) <= most_s]
        self.runner.progress.advance(len(choices) - len(allowed))
        results = self.runner.run(run, allowed)
        return [result for result in results if result is not None]

    def attaining(self, choices: Sequence[PlanChoice]) -> list[ChoiceRun]:
        """Simulate choices, and leave out those that are certain to miss the targets."""
        results = self.runner.run(self.attaining_run, choices)
        return [result for result in results if result is not None]

    def attaining_run(self, choice: PlanChoice, margin: float = 0.0) -> ChoiceRun | None:
        """Simulate one choice; None where it is certain to miss the targets, by more than a
        margin."""
        attainment = max(0.0, self.problem.slo.attainment - margin)
        limit = RunLimit(late_s=self.late_s, attainment=attainment, least_s_R=self.least_s(choice))
        return self.run(choice, limit)

    def run(self, choice: PlanChoice, limit: RunLimit) -> ChoiceRun | None:
        """Simulate one choice; None where the run exceeds the limit."""
        scenario = scenario_of(self.problem, choice, self._latencies)
        assert isinstance(scenario.profile, Profile)
        shares = choice.point.shares
        if shares not in self._paths:
            self._paths[shares] = scenario_paths(scenario, self.workload)
        outcome = run_scenario_within(
            scenario, scenario.profile, self.workload, self._paths[shares], limit
        )
        if outcome is None:
            return None
        value_s = run_value_s(outcome, self.problem.latency_objective) + choice.switching_s
        return ChoiceRun(choice=choice, outcome=outcome, value_s=value_s)

    def can_place(self, choice: PlanChoice) -> bool:
        """Whether a choice's replicas fit the nodes."""
        try:
            place_freely(self.problem.running, choice.deployments, self.problem.cluster)
        except InfeasiblePlanError:
            return False
        return True

    def placed(self, choice: PlanChoice, plan: Plan) -> Plan:
        """The plan of a choice, with the devices of every replica.

        Raises:
            InfeasiblePlanError: if the replicas do not fit the nodes.
        """
        return with_placement(self.problem, choice.in_plan(self.problem, plan))

    def finished(self, run: ChoiceRun, plan: Plan, candidates: int) -> Plan:
        """A placed plan with its scenario and what its run came to.

        Args:
            candidates: plans that were looked at, this one among them.
        """
        scenario = scenario_of(self.problem, run.choice, self._latencies)
        return msgspec.structs.replace(
            plan,
            setup=msgspec.structs.replace(scenario, workload=self.problem.workload),
            simulated=_simulated(run, self.problem, self.workload, candidates - 1),
            price_per_hour=run.choice.price_per_hour(self.problem),
        )


@dataclass(slots=True)
class Best:
    """The best runs so far that can be placed.

    Attributes:
        least_gain: share of the best value by which a run may be worse and still count: of those
            the one with fewest GPUs is taken.
        refused: why the first plan could not be placed.
    """

    runs: ChoiceRuns
    plan: Plan
    least_gain: float = 0.0
    placed: tuple[tuple[ChoiceRun, Plan], ...] = ()
    refused: InfeasiblePlanError | None = None

    @property
    def best_s(self) -> float:
        """The least value."""
        return min((run.value_s for run, _ in self.placed), default=math.inf)

    @property
    def most_s(self) -> float:
        """The largest value that still counts."""
        return self.best_s * (1.0 + self.least_gain)

    def add(self, runs: Sequence[ChoiceRun]) -> None:
        """Take the runs that count, and drop those that do not any more."""
        for run in sorted(runs, key=lambda run: run.value_s):
            if run.value_s > self.most_s or not math.isfinite(run.value_s):
                continue
            try:
                placed = self.runs.placed(run.choice, self.plan)
            except InfeasiblePlanError as error:
                self.refused = self.refused or error
                continue
            self.placed = (*self.placed, (run, placed))
        self.placed = tuple(pair for pair in self.placed if pair[0].value_s <= self.most_s)

    def chosen(self) -> tuple[ChoiceRun, Plan] | None:
        """Of the runs that count the one with fewest GPUs; of equals the best, then the first."""
        order = [(run.choice.gpus, run.value_s) for run, _ in self.placed]
        return self.placed[order.index(min(order))] if order else None

    def search(self, choices: Sequence[PlanChoice]) -> bool:
        """Simulate choices, the best on the surfaces first; whether there was time for all.

        However little time there is, one that can be placed is simulated.
        """
        progress = self.runs.runner.progress
        ranked = sorted(choices, key=lambda choice: choice.surface_s)
        for batch in _batches(ranked):
            self.add(self.runs.within(batch, self.most_s))
        if not progress.is_over:
            return True
        for choice in ranked:
            if self.placed:
                break
            run = self.runs.run(choice, RunLimit())
            self.add([] if run is None else [run])
        return False


def _batches(choices: Sequence[PlanChoice]) -> Iterator[Sequence[PlanChoice]]:
    for start in range(0, len(choices), BATCH):
        yield choices[start : start + BATCH]


def _simulated(
    run: ChoiceRun, problem: Problem, workload: Workload, others: int
) -> CascadeSimulation:
    outcome = run.outcome
    summary = outcome.summary(problem.slo)
    value_s = run.value_s - run.choice.switching_s
    surface_s = run.choice.surface_s - run.choice.switching_s
    return CascadeSimulation(
        objective_s=value_s,
        above_surfaces=value_s / surface_s - 1.0 if surface_s > 0 else 0.0,
        requests=summary["requests"],
        answered=summary["answered"],
        rate_per_s=workload.rate_per_s,
        e2e_ms=summary["e2e_ms"],
        ttft_ms=summary["ttft_ms"],
        slo_attainment=summary["slo_attainment"],
        goodput_per_s=summary["goodput_per_s"],
        busy=[tier["busy"] for tier in summary["tiers"]],
        neighbours=others,
    )
