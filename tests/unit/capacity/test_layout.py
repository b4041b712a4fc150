"""On which devices the workers of a cascade start."""

import itertools
from typing import Any

import pytest

from cascadia_sglang.capacity.layout import WantedPool, lay_out_workers, shared_devices
from cascadia_sglang.capacity.types import Capacity, Node, RunningReplica
from cascadia_sglang.errors import InfeasiblePlanError


def want(
    pool: str, gb: float = 1.0, replicas: int = 1, tp: int = 1, **placement: Any
) -> WantedPool:
    capacity = Capacity(replicas=replicas, tp_size=tp)
    return WantedPool(pool=pool, capacity=capacity, weights_bytes=gb * 1e9, **placement)


def node(cards: int) -> Node:
    return Node(gpu="cuda", devices=cards)


def devices(replica: RunningReplica) -> list[int]:
    ranks = range(replica.replica_gpus)
    return [replica.base_gpu_id + rank * replica.gpu_id_step for rank in ranks]


def lies(cards: int, *pools: WantedPool) -> list[tuple[str, list[int]]]:
    return [(worker.pool, devices(worker)) for worker in lay_out_workers(pools, node(cards))]


def test_every_worker_has_a_device_of_its_own_where_there_are_enough() -> None:
    devices_by_pool = dict(lies(8, want("small", 1), want("middle", 8), want("large", 64, tp=4)))
    assert devices_by_pool["large"] == [0, 1, 2, 3]
    assert not set(devices_by_pool["small"]) & set(devices_by_pool["middle"])


def test_one_card_takes_them_all() -> None:
    assert lies(1, want("small", 1), want("large", 8)) == [("small", [0]), ("large", [0])]


def test_with_too_few_cards_the_smaller_ones_share() -> None:
    devices_by_pool = dict(lies(2, want("small", 1), want("middle", 2), want("large", 7)))
    assert devices_by_pool == {"small": [1], "middle": [1], "large": [0]}


@pytest.mark.parametrize("cards", [1, 2, 3])
def test_shared_weights_are_spread_as_a_search_over_all_ways_would_not_do_much_worse(
    cards: int,
) -> None:
    sizes = [1.0, 2.0, 3.0, 5.0, 8.0]
    pools = [want(f"tier{index}", gb) for index, gb in enumerate(sizes)]

    def fullest(places: tuple[int, ...]) -> float:
        return max(
            sum(gb for gb, device in zip(sizes, places, strict=True) if device == card)
            for card in range(cards)
        )

    best = min(fullest(places) for places in itertools.product(range(cards), repeat=len(sizes)))
    places = {pool: pool_devices[0] for pool, pool_devices in lies(cards, *pools)}
    # The largest first is never worse than 4/3 of the best (Graham, 1969).
    assert fullest(tuple(places[pool.pool] for pool in pools)) <= 4 / 3 * best


def test_a_tier_has_the_devices_that_it_names() -> None:
    layout = lies(
        8,
        want("small", devices=(5,)),
        want("middle", devices=(5, 7), replicas=2),
        want("large", tp=2, devices=(0, 2)),
        want("rest"),
    )
    assert layout == [
        ("small", [5]),
        ("middle", [5]),
        ("middle", [7]),
        ("large", [0, 2]),
        ("rest", [1]),
    ]
    replicas = lay_out_workers([want("a", devices=(1,)), want("b", devices=(1,))], node(2))
    assert shared_devices(replicas, node(2)) == {("cuda", 0, 1)}


def test_pipeline_stages_lie_on_neighbours() -> None:
    capacity = Capacity(replicas=1, pp_size=2)
    staged = WantedPool(pool="large", capacity=capacity, devices=(0, 2))
    with pytest.raises(InfeasiblePlanError, match="must be neighbours"):
        lay_out_workers([staged], node(4))


def test_shares_fill_a_device_before_the_next_is_begun() -> None:
    devices_by_pool = dict(
        lies(
            4,
            want("small", gpu_share=0.25),
            want("middle", 2, gpu_share=0.75),
            want("large", 9),
        )
    )
    assert devices_by_pool["small"] == devices_by_pool["middle"]
    assert devices_by_pool["large"] != devices_by_pool["small"]


@pytest.mark.parametrize(
    ("pools", "message"),
    [
        ([want("large", tp=4)], "a worker of tier large needs 4 devices, there are 2"),
        ([want("small", devices=(2,))], "tier small: device 2 is not there, there are 2"),
        ([want("small", devices=(0,), tp=2)], "1 devices are named, 1 workers of 2 want 2 each"),
        ([want("small", devices=(0, 1))], "2 devices are named, 1 workers of 1 want 1 each"),
        ([want("small", devices=(1, 0), tp=2)], r"devices \[1, 0\] of one worker must rise"),
        (
            [want("a", gpu_share=0.8, replicas=2), want("b", gpu_share=0.3)],
            "tier b: no device has 0.3 of its memory left",
        ),
    ],
)
def test_what_does_not_fit_is_said_in_a_line(pools: list[WantedPool], message: str) -> None:
    with pytest.raises(InfeasiblePlanError, match=message):
        lay_out_workers(pools, node(2))
