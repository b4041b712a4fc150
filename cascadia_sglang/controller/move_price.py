"""How long a move takes, and how long devices stand idle meanwhile. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from cascadia_sglang.capacity.cluster import Cluster
from cascadia_sglang.capacity.devices import Device
from cascadia_sglang.capacity.move_steps import Action, Start, Stop
from cascadia_sglang.capacity.types import RunningReplica


class MovePrice(msgspec.Struct, frozen=True, kw_only=True):
    """Replicas, time and idle devices of a move.

    Attributes:
        starts, stops: replicas that it starts and stops.
        moving_s: of all steps together.
        idle_devices: that pass from one replica to another.
        idle_device_s: summed over these, from the end of one replica to the start of the next.
    """

    starts: int = 0
    stops: int = 0
    moving_s: float = 0.0
    idle_devices: int = 0
    idle_device_s: float = 0.0

    @property
    def idle_s(self) -> float:
        """How long such a device stands still, on average."""
        return self.idle_device_s / self.idle_devices if self.idle_devices else 0.0


def price_move(
    actions: Sequence[Action],
    cluster: Cluster,
    start_s: Callable[[RunningReplica], float],
    stop_s: float,
) -> MovePrice:
    """The price of actions that are carried out one after the other.

    A device that nobody takes after a stop counts as free: the plan gives it up.

    Args:
        cluster: where the replicas lie.
        start_s: how long a replica's start takes.
        stop_s: how long a replica's last requests take.
    """
    now_s, idle_devices, idle_device_s = 0.0, 0, 0.0
    starts = stops = 0
    free_since_s: dict[Device, float] = {}
    for action in actions:
        if isinstance(action, Stop):
            stops += 1
            now_s += stop_s
            free_since_s.update(dict.fromkeys(cluster.devices_of(action.replica), now_s))
        elif isinstance(action, Start):
            starts += 1
            now_s += start_s(action.replica)
            for device in cluster.devices_of(action.replica):
                if device in free_since_s:
                    idle_devices += 1
                    idle_device_s += now_s - free_since_s.pop(device)
    return MovePrice(
        starts=starts,
        stops=stops,
        moving_s=now_s,
        idle_devices=idle_devices,
        idle_device_s=idle_device_s,
    )
