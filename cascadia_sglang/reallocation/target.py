"""Places for the replicas that are asked for by number, so that as few as possible move. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from cascadia_sglang.errors import InfeasiblePlanError
from cascadia_sglang.planner.capacity_types import Capacity, GpuType, Reserve, RunningReplica
from cascadia_sglang.planner.devices import Device, devices_of, progression
from cascadia_sglang.reallocation.actions import RunningPlan


def capacity_of(plan: RunningPlan) -> dict[str, Capacity]:
    """Of every pool that runs: how many replicas, of its first one's shape."""
    found: dict[str, Capacity] = {}
    for replica in plan.replicas:
        known = found.get(replica.pool)
        shape = known or Capacity(replicas=0, tp_size=replica.tp_size, pp_size=replica.pp_size)
        found[replica.pool] = msgspec.structs.replace(shape, replicas=shape.replicas + 1)
    return found


def placed(
    current: RunningPlan,
    wanted: Mapping[str, Capacity],
    kind: GpuType,
    gpu_budget: int | None,
    reserve: Reserve = Reserve(),  # noqa: B008  immutable
) -> tuple[RunningReplica, ...]:
    """The replicas of a plan with this capacity on one node.

    Those that run in the wanted shape stay, the oldest first. New ones go where a worker is
    prepared for them; then to devices that are free now; where there is none, to those of a replica
    that ends.

    Raises:
        InfeasiblePlanError: if they need more devices than the budget or the node has.
    """
    most = kind.gpus_per_node if gpu_budget is None else min(gpu_budget, kind.gpus_per_node)
    kept: list[RunningReplica] = []
    missing: list[tuple[str, Capacity]] = []
    for pool, capacity in wanted.items():
        alike = [one for one in current.replicas if _is_alike(one, pool, capacity)]
        kept += alike[: capacity.replicas]
        missing += [(pool, capacity)] * (capacity.replicas - len(alike[: capacity.replicas]))
    taken = _devices([*kept], kind)
    needed = len(taken) + sum(one.tp_size * one.pp_size for _, one in missing)
    if missing and needed > most:
        raise InfeasiblePlanError(f"{needed} devices are needed, there are {most}")
    ending = _devices([one for one in current.replicas if one not in kept], kind)
    everything = _everything(kind) - _devices(reserve.held, kind)
    # The largest first, while the free devices still lie together.
    missing.sort(key=lambda one: -one[1].tp_size * one[1].pp_size)
    for pool, capacity in missing:
        replica = (
            _prepared(pool, capacity, kind, reserve.prepared, (taken | ending, taken))
            or _place(pool, capacity, kind, everything - taken - ending)
            or _place(pool, capacity, kind, everything - taken)
        )
        if replica is None:
            size = capacity.tp_size * capacity.pp_size
            raise InfeasiblePlanError(f"no {size} devices in a row for a worker of {pool}")
        kept.append(replica)
        taken |= _devices([replica], kind)
    return tuple(kept)


def free_place(
    pool: str, capacity: Capacity, kind: GpuType, taken: Sequence[RunningReplica]
) -> RunningReplica | None:
    """Devices for one more worker beside those that are taken; None where it finds no room."""
    return _place(pool, capacity, kind, _everything(kind) - _devices(taken, kind))


def _everything(kind: GpuType) -> set[Device]:
    return {(kind.gpu, 0, device) for device in range(kind.gpus_per_node)}


def _prepared(
    pool: str,
    capacity: Capacity,
    kind: GpuType,
    places: Sequence[RunningReplica],
    avoided: Sequence[set[Device]],
) -> RunningReplica | None:
    """A place where a worker of this pool and shape is prepared, by the first set that allows one.

    Args:
        avoided: sets of devices that are not to be used, the widest first.
    """
    for devices in avoided:
        for one in places:
            if _is_alike(one, pool, capacity) and devices.isdisjoint(_devices([one], kind)):
                return one
    return None


def _is_alike(replica: RunningReplica, pool: str, capacity: Capacity) -> bool:
    shape = (replica.pool, replica.tp_size, replica.pp_size)
    return shape == (pool, capacity.tp_size, capacity.pp_size)


def _devices(replicas: Sequence[RunningReplica], kind: GpuType) -> set[Device]:
    return {device for replica in replicas for device in devices_of(replica, kind)}


def _place(
    pool: str, capacity: Capacity, kind: GpuType, free: set[Device]
) -> RunningReplica | None:
    devices = {device for _, _, device in free}
    found = progression(devices, capacity.tp_size, capacity.pp_size, kind.gpus_per_node)
    if found is None:
        return None
    return RunningReplica(
        pool=pool,
        gpu=kind.gpu,
        tp_size=capacity.tp_size,
        pp_size=capacity.pp_size,
        node=0,
        base_gpu_id=found[0],
        gpu_id_step=found[1],
    )
