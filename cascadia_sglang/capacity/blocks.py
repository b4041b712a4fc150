"""Blocks: workers that share a device, which a move starts and stops together. Pure.

A folded plan has one replica in place of the workers on a shared device; unfolding restores them.
Placement and the order of steps work on folded plans and know nothing of blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from cascadia_sglang.capacity.cluster import Cluster
from cascadia_sglang.capacity.devices import devices_of
from cascadia_sglang.capacity.move_steps import Action, Drain, Start, Stop
from cascadia_sglang.capacity.ordering import order_steps
from cascadia_sglang.capacity.service_placement import capacity_of, place_in_service
from cascadia_sglang.capacity.types import (
    Capacity,
    Node,
    Reserve,
    RunningPlan,
    RunningReplica,
)
from cascadia_sglang.errors import InfeasiblePlanError

# A block's name is its pools'; no tier has it in its own name.
_JOINT = "|"


class Blocks(msgspec.Struct, frozen=True, kw_only=True):
    """The blocks of a cascade.

    Attributes:
        groups: names of the pools whose workers share a device, one of each.
        fixed: pools whose workers share devices otherwise: of several ranks, or with changing
            others. Their number stays as it is.
    """

    groups: tuple[tuple[str, ...], ...] = ()
    fixed: frozenset[str] = frozenset()

    def group_of(self, pool: str) -> tuple[str, ...]:
        """The pools of a pool's block; itself alone where it shares nothing."""
        return next((group for group in self.groups if pool in group), (pool,))


def blocks_of(replicas: Sequence[RunningReplica], node: Node) -> Blocks:
    """The blocks of workers that lie so on a node."""
    lies: dict[object, list[RunningReplica]] = {}
    for replica in replicas:
        for device in devices_of(replica, node.devices):
            lies.setdefault(device, []).append(replica)
    groups: dict[str, set[tuple[str, ...]]] = {}
    wide: set[str] = set()
    for here in lies.values():
        group = tuple(sorted({replica.pool for replica in here}))
        if len(here) > 1 and any(replica.replica_gpus > 1 for replica in here):
            wide.update(group)
        for pool in group:
            groups.setdefault(pool, set()).add(group)
    shared = {group for sets_of_pool in groups.values() for group in sets_of_pool if len(group) > 1}
    fixed = set(wide)
    for group in shared:
        if any(groups[pool] != {group} for pool in group):
            fixed.update(group)
    whole = sorted(group for group in shared if fixed.isdisjoint(group))
    return Blocks(groups=tuple(whole), fixed=frozenset(fixed))


def folded(replicas: Iterable[RunningReplica], blocks: Blocks) -> tuple[RunningReplica, ...]:
    """Replicas with one in the place of each block, even where only some of its workers are."""
    units: dict[RunningReplica, None] = {}
    for replica in replicas:
        group = blocks.group_of(replica.pool)
        name = replica.pool if len(group) == 1 else _JOINT.join(group)
        units[msgspec.structs.replace(replica, pool=name)] = None
    return tuple(units)


def unfolded(replica: RunningReplica) -> tuple[RunningReplica, ...]:
    """The workers of a folded replica."""
    pools = replica.pool.split(_JOINT)
    return tuple(msgspec.structs.replace(replica, pool=pool) for pool in pools)


def folded_capacity(capacity: Mapping[str, Capacity], blocks: Blocks) -> dict[str, Capacity]:
    """The same of a capacity.

    Raises:
        InfeasiblePlanError: if a block would be split: pools of one have different capacity.
    """
    units: dict[str, Capacity] = {}
    for pool, pool_capacity in capacity.items():
        group = blocks.group_of(pool)
        for other in group:
            if capacity.get(other, pool_capacity) != pool_capacity:
                raise InfeasiblePlanError(
                    f"{' and '.join(group)} share devices, so their replicas change together: "
                    f"{pool} is to have {pool_capacity.replicas} and {other} "
                    f"{capacity[other].replicas}"
                )
        units[pool if len(group) == 1 else _JOINT.join(group)] = pool_capacity
    return units


def folded_need(least_gib: Mapping[str, float], blocks: Blocks) -> dict[str, float]:
    """The same of what the pools' workers need of a device: that of a block is their sum."""
    units = dict(least_gib)
    for group in blocks.groups:
        units[_JOINT.join(group)] = sum(least_gib.get(pool, 0.0) for pool in group)
    return units


def place_blocks(
    current: RunningPlan,
    target: Mapping[str, Capacity],
    cluster: Cluster,
    gpu_budget: int | None,
    reserve: Reserve,
    blocks: Blocks,
) -> tuple[RunningReplica, ...]:
    """As `place_in_service`, with the workers of a block in one place.

    Raises:
        InfeasiblePlanError: besides, if a block would be split, or pools change that are fixed.
    """
    present = capacity_of(current)
    for pool in sorted(blocks.fixed):
        if target[pool] != present[pool]:
            raise InfeasiblePlanError(
                f"{pool} shares devices as no other does, so its {present[pool].replicas} replicas "
                "stay"
            )
    units = msgspec.structs.replace(current, replicas=folded(current.replicas, blocks))
    capacity = folded_capacity(target, blocks)
    nodes = msgspec.structs.replace(cluster, least_gib=folded_need(cluster.least_gib, blocks))
    replicas = place_in_service(units, capacity, nodes, gpu_budget, reserve)
    return tuple(worker for unit in replicas for worker in unfolded(unit))


def order_block_steps(
    current: RunningPlan,
    target: RunningPlan,
    cluster: Cluster,
    gpu_budget: int | None,
    blocks: Blocks,
) -> list[Action]:
    """As `order_steps`, with every block started and stopped whole."""
    before, after = (
        msgspec.structs.replace(plan, replicas=folded(plan.replicas, blocks))
        for plan in (current, target)
    )
    return unfolded_actions(order_steps(before, after, cluster, gpu_budget), current, target)


def unfolded_actions(
    actions: Sequence[Action], current: RunningPlan, target: RunningPlan
) -> list[Action]:
    """Actions on folded replicas as actions on workers.

    Args:
        current, target: as they are, not folded. Of a block that only some workers are left of,
            those alone are stopped, and what is missing is started first.
    """
    present = set(current.replicas)
    begun = {
        part for action in actions if isinstance(action, Start) for part in unfolded(action.replica)
    }
    steps: list[Action] = [
        Start(replica=replica)
        for replica in target.replicas
        if replica not in present and replica not in begun
    ]
    for action in actions:
        if isinstance(action, Start):
            parts = [worker for worker in unfolded(action.replica) if worker not in present]
            steps += [Start(replica=worker) for worker in parts]
        elif isinstance(action, Drain):
            steps += [
                Drain(replica=worker) for worker in unfolded(action.replica) if worker in present
            ]
        elif isinstance(action, Stop):
            steps += [
                Stop(replica=worker) for worker in unfolded(action.replica) if worker in present
            ]
        else:
            steps.append(action)
    return steps
