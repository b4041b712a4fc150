"""Node and device ids for every replica of a plan, leaving alone what already runs.

Replicas that run in the shape that is wanted stay where they are. Where the free devices are so
scattered that a new one finds no room, as few as possible of those move too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import msgspec

from cascadia_sglang.errors import InfeasiblePlanError
from cascadia_sglang.planner.capacity_types import GpuType, RunningReplica
from cascadia_sglang.planner.devices import devices_of, misplaced, progression
from cascadia_sglang.planner.plan import Move, Plan
from cascadia_sglang.planner.problem import Deployment, Problem

# Choices of replicas to keep, and nodes tried for new ones, before everything is placed anew.
MAX_CHOICES = 2_000
MAX_STEPS = 5_000
# More new replicas than this are placed one after the other without turning back.
MAX_DEPTH = 200

_Free = dict[tuple[str, int], frozenset[int]]


def place(problem: Problem, plan: Plan) -> Plan:
    """The plan with the place of every replica, and the moves that lead there.

    Raises:
        InfeasiblePlanError: if the replicas do not fit the nodes.
    """
    alike = [[one for one in problem.running if _is_alike(one, want)] for want in plan.deployments]
    most = [
        min(len(running), want.replicas)
        for running, want in zip(alike, plan.deployments, strict=True)
    ]
    nothing: list[list[RunningReplica]] = [[] for _ in alike]
    for kept in itertools.chain(itertools.islice(_choices(alike, most), MAX_CHOICES), [nothing]):
        new = _fit(problem.cluster, plan.deployments, kept)
        if new is not None:
            return _placed(problem, plan, most, kept, new)
    raise InfeasiblePlanError(
        "the replicas fit the number of GPUs but not the nodes: "
        + ", ".join(
            f"{one.replicas} of {one.replica_gpus} for {one.pool}" for one in plan.deployments
        )
    )


def check_placement(problem: Problem, plan: Plan) -> list[str]:
    """Everything that is wrong with where a plan puts its replicas, a line each."""
    lines = [
        f"placement[{index}]: {line}" for index, line in misplaced(plan.placement, problem.cluster)
    ]
    for want in plan.deployments:
        number = sum(_is_alike(one, want) for one in plan.placement)
        if number != want.replicas:
            lines.append(f"{number} replicas of pool {want.pool!r} are placed of {want.replicas}")
    if len(plan.placement) != sum(want.replicas for want in plan.deployments):
        lines.append(f"{len(plan.placement)} replicas are placed")
    return lines


def _is_alike(replica: RunningReplica, want: Deployment) -> bool:
    return (replica.pool, replica.gpu, replica.tp_size, replica.pp_size) == (
        want.pool,
        want.gpu,
        want.tp_size,
        want.pp_size,
    )


def _choices(
    alike: Sequence[list[RunningReplica]], most: Sequence[int]
) -> Iterator[list[list[RunningReplica]]]:
    """Which running replicas of every pool to keep: first as many as can be, then fewer."""
    for moved in range(sum(most) + 1):
        for each in itertools.product(*(range(min(moved, limit) + 1) for limit in most)):
            if sum(each) == moved:
                kept = [
                    itertools.combinations(running, limit - fewer)
                    for running, limit, fewer in zip(alike, most, each, strict=True)
                ]
                for choice in itertools.product(*kept):
                    yield [list(group) for group in choice]


def _fit(
    cluster: Sequence[GpuType], wanted: Sequence[Deployment], kept: Sequence[list[RunningReplica]]
) -> list[RunningReplica] | None:
    """Places for what is not kept, largest first; None where they do not fit."""
    kinds = {kind.gpu: kind for kind in cluster}
    free: dict[tuple[str, int], set[int]] = {
        (kind.gpu, node): set(range(kind.gpus_per_node))
        for kind in cluster
        for node in range(kind.nodes)
    }
    for replica in itertools.chain(*kept):
        for gpu, node, device in devices_of(replica, kinds[replica.gpu]):
            free[gpu, node].discard(device)
    missing = [
        want
        for want, group in zip(wanted, kept, strict=True)
        for _ in range(want.replicas - len(group))
    ]
    missing.sort(key=lambda want: -want.replica_gpus)
    frozen = {key: frozenset(devices) for key, devices in free.items()}
    straight = _straight(kinds, dict(frozen), missing)
    if straight is not None or len(missing) > MAX_DEPTH:
        return straight
    return _descend(kinds, frozen, missing, iter(range(MAX_STEPS)))


def _straight(
    kinds: dict[str, GpuType], free: _Free, missing: Sequence[Deployment]
) -> list[RunningReplica] | None:
    """Give each its first place; changes what is free."""
    placed = []
    for want in missing:
        replica = next(_places(kinds[want.gpu], free, want), None)
        if replica is None:
            return None
        for gpu, node, device in devices_of(replica, kinds[want.gpu]):
            free[gpu, node] -= {device}
        placed.append(replica)
    return placed


def _descend(
    kinds: dict[str, GpuType], free: _Free, missing: Sequence[Deployment], steps: Iterator[int]
) -> list[RunningReplica] | None:
    """Place the first of the missing wherever the rest then fit too; the fullest node first."""
    if not missing:
        return []
    want, rest = missing[0], missing[1:]
    for replica in _places(kinds[want.gpu], free, want):
        if next(steps, None) is None:
            return None
        left = dict(free)
        for gpu, node, device in devices_of(replica, kinds[want.gpu]):
            left[gpu, node] = left[gpu, node] - {device}
        behind = _descend(kinds, left, rest, steps)
        if behind is not None:
            return [replica, *behind]
    return None


def _places(kind: GpuType, free: _Free, want: Deployment) -> Iterator[RunningReplica]:
    """One place in every node that differs from those before, the node of least room first."""
    size = want.replica_gpus
    base = RunningReplica(
        pool=want.pool,
        gpu=want.gpu,
        tp_size=want.tp_size,
        pp_size=want.pp_size,
        node=0,
        base_gpu_id=0,
    )
    if size > kind.gpus_per_node:
        span = size // kind.gpus_per_node
        for node in range(kind.nodes - span + 1):
            if all(len(free[kind.gpu, node + k]) == kind.gpus_per_node for k in range(span)):
                yield msgspec.structs.replace(base, node=node)
        return
    seen: set[frozenset[int]] = set()
    for node in sorted(range(kind.nodes), key=lambda node: (len(free[kind.gpu, node]), node)):
        devices = free[kind.gpu, node]
        found = None
        if devices not in seen:
            found = progression(devices, want.tp_size, want.pp_size, kind.gpus_per_node)
        seen.add(devices)
        if found is not None:
            yield msgspec.structs.replace(
                base, node=node, base_gpu_id=found[0], gpu_id_step=found[1]
            )


def _placed(
    problem: Problem,
    plan: Plan,
    most: Sequence[int],
    kept: Sequence[list[RunningReplica]],
    new: Sequence[RunningReplica],
) -> Plan:
    """Put both lists together; of a pool's new places the first are starts, the others moves."""
    placement, moves = [], []
    for want, limit, group in zip(plan.deployments, most, kept, strict=True):
        mine = [replica for replica in new if _is_alike(replica, want)]
        placement += [*group, *mine]
        starts = want.replicas - limit
        for index, replica in enumerate(mine):
            moves.append(
                Move(
                    kind="start" if index < starts else "move",
                    replica=replica,
                    cost_s=problem.switching_cost_s,
                )
            )
    return msgspec.structs.replace(plan, placement=placement, moves=moves)
