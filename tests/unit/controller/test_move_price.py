"""What a move takes, by hand and beside a clock that ticks."""

import itertools
from random import Random

import pytest

from cascadia_sglang.capacity.cluster import Cluster
from cascadia_sglang.capacity.move_steps import Action, Drain, Start, Stop
from cascadia_sglang.capacity.ordering import order_steps
from cascadia_sglang.capacity.service_placement import place_in_service
from cascadia_sglang.capacity.types import Capacity, Node, RunningPlan, RunningReplica
from cascadia_sglang.controller.move_price import MovePrice, price_move
from cascadia_sglang.errors import PlanError

CLUSTER = Cluster(nodes=(Node(gpu="cuda", devices=4),))
START_S = {"small": 40.0, "large": 240.0}


def replica(pool: str, device: int, tp_size: int = 1) -> RunningReplica:
    return RunningReplica(pool=pool, gpu="cuda", node=0, base_gpu_id=device, tp_size=tp_size)


def price(*actions: Action) -> MovePrice:
    return price_move(actions, CLUSTER, lambda replica: START_S[replica.pool], 1.0)


def swap(old: RunningReplica, new: RunningReplica) -> list[Action]:
    return [Drain(replica=old), Stop(replica=old), Start(replica=new)]


def test_a_device_that_passes_on_stands_still_for_the_start():
    cost = price(*swap(replica("large", 0), replica("small", 0)))
    assert cost == MovePrice(starts=1, stops=1, moving_s=41.0, idle_devices=1, idle_device_s=40.0)


def test_a_free_device_costs_the_start_alone():
    assert price(Start(replica=replica("large", 3))) == MovePrice(starts=1, moving_s=240.0)


def test_a_device_that_nobody_takes_is_given_up():
    assert price(Stop(replica=replica("large", 3))) == MovePrice(stops=1, moving_s=1.0)


def test_a_start_on_two_devices_waits_for_both():
    cost = price(
        Stop(replica=replica("small", 0)),
        Stop(replica=replica("small", 1)),
        Start(replica=replica("large", 0, tp_size=2)),
    )
    # The first has ended 1 s before the second.
    assert (cost.moving_s, cost.idle_devices) == (242.0, 2)
    assert cost.idle_device_s == 241.0 + 240.0
    assert cost.idle_s == 240.5


def test_starts_follow_one_another():
    cost = price(
        Stop(replica=replica("large", 0, tp_size=2)),
        Start(replica=replica("small", 0)),
        Start(replica=replica("small", 1)),
    )
    assert (cost.moving_s, cost.idle_device_s) == (81.0, 40.0 + 80.0)


def ticked(before: RunningPlan, after: RunningPlan, actions: list[Action]) -> float:
    """Device-seconds idle, counted second by second, of devices that serve in both plans."""
    shared = set(_held(before)) & set(_held(after))
    present, idle = set(before.replicas), 0.0
    touched = {
        device
        for action in actions
        if not isinstance(action, Drain)
        for device in CLUSTER.devices_of(action.replica)
    }
    for action in actions:
        seconds = 0 if isinstance(action, Drain) else 1 if isinstance(action, Stop) else None
        seconds = int(START_S[action.replica.pool]) if seconds is None else seconds
        for _ in range(seconds):
            busy = {device for replica in present for device in CLUSTER.devices_of(replica)}
            idle += len((shared & touched) - busy)
        if isinstance(action, Stop):
            present.discard(action.replica)
        elif isinstance(action, Start):
            present.add(action.replica)
    return idle


def _held(plan: RunningPlan) -> list[tuple[str, int, int]]:
    return [device for replica in plan.replicas for device in CLUSTER.devices_of(replica)]


@pytest.mark.parametrize("seed", range(60))
def test_every_order_of_a_move_is_priced_as_a_clock_counts_it(seed):
    random = Random(seed)
    splits = [(a, b, tp) for a, b, tp in itertools.product(range(1, 4), range(1, 4), (1, 2))]
    fitting = [counts for counts in splits if counts[0] + counts[1] * counts[2] <= CLUSTER.devices]
    plans = []
    current = RunningPlan(replicas=(), thresholds=(0.5,))
    for small, large, tp_size in random.sample(fitting, 2):
        capacities = {
            "small": Capacity(replicas=small),
            "large": Capacity(replicas=large, tp_size=tp_size),
        }
        current = RunningPlan(
            replicas=place_in_service(current, capacities, CLUSTER, None), thresholds=(0.5,)
        )
        plans.append(current)
    before, after = plans
    try:
        actions = order_steps(before, after, CLUSTER, None)
    except PlanError:
        pytest.skip("no order keeps a worker of each")
    cost = price_move(actions, CLUSTER, lambda replica: START_S[replica.pool], 1.0)
    assert cost.idle_device_s == pytest.approx(ticked(before, after, actions))
    starts = [action for action in actions if isinstance(action, Start)]
    stops = [action for action in actions if isinstance(action, Stop)]
    assert cost.moving_s == sum(START_S[action.replica.pool] for action in starts) + len(stops)
    assert (cost.starts, cost.stops) == (len(starts), len(stops))
