"""What runs, and the steps that change it."""

from __future__ import annotations

import msgspec

from cascadia_sglang.planner.capacity_types import RunningReplica


class RunningPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A plan as it is in force: where every replica lies, and the tiers' thresholds."""

    replicas: tuple[RunningReplica, ...]
    thresholds: tuple[float, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Replicas of every pool that has one."""
        counts: dict[str, int] = {}
        for replica in self.replicas:
            counts[replica.pool] = counts.get(replica.pool, 0) + 1
        return counts

    @property
    def gpus(self) -> int:
        """Devices that the replicas hold, all together; one that several share counts once."""
        return len(
            {
                (one.gpu, one.node, one.base_gpu_id + rank * one.gpu_id_step)
                for one in self.replicas
                for rank in range(one.replica_gpus)
            }
        )


class Start(msgspec.Struct, frozen=True, kw_only=True, tag="start"):
    """Start a replica at its place; done once it accepts requests."""

    replica: RunningReplica


class Drain(msgspec.Struct, frozen=True, kw_only=True, tag="drain"):
    """Give a replica no further requests; those that it runs go on."""

    replica: RunningReplica


class Stop(msgspec.Struct, frozen=True, kw_only=True, tag="stop"):
    """End a drained replica once its requests are done, or its deadline has passed."""

    replica: RunningReplica


class SetThresholds(msgspec.Struct, frozen=True, kw_only=True, tag="thresholds"):
    """Accept by these thresholds from now on."""

    thresholds: tuple[float, ...]


Action = Start | Drain | Stop | SetThresholds


def applied(plan: RunningPlan, action: Action) -> RunningPlan:
    """The plan after one more action; a drained replica holds its devices until it is stopped."""
    if isinstance(action, Start):
        return msgspec.structs.replace(plan, replicas=(*plan.replicas, action.replica))
    if isinstance(action, Stop):
        left = tuple(one for one in plan.replicas if one != action.replica)
        return msgspec.structs.replace(plan, replicas=left)
    if isinstance(action, SetThresholds):
        return msgspec.structs.replace(plan, thresholds=action.thresholds)
    return plan
