"""A plan to simulate: thresholds, and a deployment of every pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from cascadia_sglang.planner.deployment.columns import Columns
from cascadia_sglang.planner.latency.simulated import ShapeLatencies
from cascadia_sglang.planner.plan import Plan, gap_of
from cascadia_sglang.planner.problem.problem import Deployment, Problem
from cascadia_sglang.planner.simulation.scenario import Scenario, ScenarioTier
from cascadia_sglang.planner.speed.profile import Profile
from cascadia_sglang.planner.thresholds.frontier import ThresholdPoint

# What tells two choices apart.
ChoiceKey = tuple[tuple[float, ...], tuple[tuple[str, str, int, int, int], ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanChoice:
    """Thresholds with a deployment of every pool.

    Attributes:
        surface_s: objective by the surfaces, switching included.
        switching_s: part of it that starts of replicas cost.
    """

    point: ThresholdPoint
    deployments: tuple[Deployment, ...]
    surface_s: float
    switching_s: float = 0.0

    @property
    def gpus(self) -> int:
        """Devices of all pools."""
        return sum(deployment.gpus for deployment in self.deployments)

    @property
    def key(self) -> ChoiceKey:
        """Equal for equal plans."""
        return self.point.shares, tuple(
            (
                deployment.pool,
                deployment.gpu,
                deployment.tp_size,
                deployment.pp_size,
                deployment.replicas,
            )
            for deployment in self.deployments
        )

    def price_per_hour(self, problem: Problem) -> float | None:
        """Price of all devices for an hour; None without prices."""
        prices = problem.price_per_gpu_hour
        if not prices:
            return None
        return round(
            sum(prices[deployment.gpu] * deployment.gpus for deployment in self.deployments), 6
        )

    def in_plan(self, problem: Problem, plan: Plan) -> Plan:
        """A plan with this choice in place of its own; its bound stays."""
        by_pool = {deployment.pool: deployment.gpus for deployment in self.deployments}
        gap = gap_of(self.surface_s, plan.bound_s)
        is_same = self.surface_s <= plan.objective_s
        return msgspec.structs.replace(
            plan,
            thresholds=list(self.point.thresholds),
            shares=list(self.point.shares),
            quality=self.point.quality if plan.certificate is None else plan.quality,
            deployments=list(self.deployments),
            allocation=[by_pool[tier.pool_name] for tier in problem.tiers],
            objective_s=self.surface_s,
            gap=gap,
            status="feasible" if plan.status == "optimal" and not is_same else plan.status,
            switching_s=self.switching_s,
            placement=[],
            moves=[],
        )


def choice_of(
    columns: Columns,
    deployments: Sequence[Deployment],
    picks: Sequence[int],
    point: ThresholdPoint,
) -> PlanChoice:
    """The choice of these columns, one a pool.

    Args:
        deployments: that the columns stand for.
    """
    return PlanChoice(
        point=point,
        deployments=tuple(deployments[pick] for pick in picks),
        surface_s=columns.objective_s(picks),
        switching_s=float(columns.switching_C[list(picks)].sum()),
    )


def scenario_of(problem: Problem, choice: PlanChoice, latencies: ShapeLatencies) -> Scenario:
    """What to simulate of a choice, with the step times of its shapes."""
    times, limits, tiers = {}, {}, []
    measured = []
    by_pool = {deployment.pool: deployment for deployment in choice.deployments}
    for tier, share in zip(problem.tiers, choice.point.shares, strict=True):
        deployment = by_pool[tier.pool_name]
        shape = latencies.shape_of(deployment).of_tier(tier.name)
        times[tier.name], limits[tier.name] = shape.times, shape.limits
        measured.append(shape.is_measured)
        tiers.append(
            ScenarioTier(
                name=tier.name,
                pool=tier.pool,
                block=tier.block,
                replicas=deployment.replicas,
                share=share,
                length=tier.length,
                prompt_length=tier.prompt_length,
                kept=tier.kept,
                stages=deployment.pp_size,
            )
        )
    profile = Profile(
        version=1,
        device=", ".join(
            f"{deployment.gpus} {deployment.gpu}" for deployment in choice.deployments
        ),
        source="measured" if all(measured) else "roofline",
        tiers=times,
        limits=limits,
    )
    return Scenario(
        version=1, profile=profile, tiers=tiers, slo=problem.slo, seed=problem.routing.seed
    )
