"""Node and device ids of a plan's replicas; running replicas stay."""

from __future__ import annotations

from typing import Literal

import msgspec

from cascadia_sglang.capacity.placement import place_freely
from cascadia_sglang.capacity.types import RunningReplica
from cascadia_sglang.planner.plan import Move, Plan
from cascadia_sglang.planner.problem.problem import Problem


def with_placement(problem: Problem, plan: Plan) -> Plan:
    """The plan with the devices of every replica, and the moves that lead there.

    Raises:
        InfeasiblePlanError: if the replicas do not fit the nodes.
    """
    groups = place_freely(problem.running, plan.deployments, problem.cluster)

    def move(kind: Literal["start", "move"], replica: RunningReplica) -> Move:
        return Move(kind=kind, replica=replica, cost_s=problem.switching_cost_s)

    placement: list[RunningReplica] = []
    moves: list[Move] = []
    for group in groups:
        placement += [*group.staying, *group.started, *group.moved]
        moves += [move("start", replica) for replica in group.started]
        moves += [move("move", replica) for replica in group.moved]
    return msgspec.structs.replace(plan, placement=placement, moves=moves)
