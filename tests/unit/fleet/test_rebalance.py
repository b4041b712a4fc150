"""Where capacity changes, waiting attempts go where they are served sooner."""

import pytest

from cascadia_sglang.fleet.rebalance import Rebalance, moving
from cascadia_sglang.pool.pool import Worker, WritablePool
from cascadia_sglang.pool.worker_handle import Limits
from cascadia_sglang.prefix.speed import PublishedLoad


def load(waiting: int, max_running: int = 4) -> PublishedLoad:
    return PublishedLoad(
        at_s=0.0,
        running=4,
        waiting=waiting,
        waiting_tokens=0,
        max_running=max_running,
        prefilled_tokens=0,
        prefill_us=0,
        decode_moments=(0.0,) * 6,
    )


def make(*held: int, waiting: int = 0) -> tuple[Rebalance, WritablePool, list[tuple[str, int]]]:
    """Workers of one pool with so many attempts, and what is moved from them."""
    pool, moved = WritablePool(), []
    for number, count in enumerate(held):
        worker = Worker(worker_id=f"small-{number}", tiers=(0,), handle=None)
        pool.add(worker)
        pool.admit(worker, Limits(context_tokens=100, input_tokens=90, vocabulary=128))
        for rid in range(count):
            pool.assign(f"{number}-{rid}", worker)
    spread = Rebalance(
        pool,
        lambda worker, count: moved.append((worker.worker_id, count)),
        queue_limit=20,
        load_of=lambda _: load(waiting),
    )
    return spread, pool, moved


@pytest.mark.parametrize(
    ("held", "waiting", "running", "given"),
    [
        # 24 for three workers.
        ([20, 4], [16, 0], 0, [12, 0]),
        ([10, 10], [6, 6], 1, [3, 3]),
        # What runs stays, however much it is.
        ([20, 4], [5, 0], 0, [5, 0]),
        ([1, 1], [0, 0], 0, [0, 0]),
        ([], [], 0, []),
    ],
)
def test_a_worker_more_gets_its_share_of_what_waits(held, waiting, running, given):
    assert moving(held, waiting, running) == given


def test_a_worker_that_begins_to_serve_takes_from_the_fullest():
    spread, pool, moved = make(20, 4, 0)
    spread.to(pool.get("small-2"))
    # No batch of four holds the sixteen others, whatever was published last.
    assert moved == [("small-0", 12)]


def test_a_worker_that_is_to_end_keeps_what_it_runs():
    spread, pool, moved = make(9, 2)
    leaving = pool.get("small-0")
    pool.drain(leaving)
    spread.away_from(leaving)
    assert moved == [("small-0", 5)]


@pytest.mark.parametrize(
    ("others", "expected"), [((), []), ((18,), [("small-0", 2)]), ((20, 20), [])]
)
def test_what_nobody_else_has_room_for_stays(others, expected):
    spread, pool, moved = make(9, *others)
    leaving = pool.get("small-0")
    pool.drain(leaving)
    spread.away_from(leaving)
    assert moved == expected


def test_what_was_published_to_wait_moves_where_memory_is_the_limit():
    """As on a device whose memory holds fewer than may run."""
    spread, pool, moved = make(4, 0, waiting=3)
    spread.to(pool.get("small-1"))
    assert moved == [("small-0", 2)]
