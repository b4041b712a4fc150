"""Which worker takes the next attempt."""

import pytest

from cascadia_sglang.pool.pool import Worker, WorkerState, WritablePool
from cascadia_sglang.pool.worker_handle import Limits

LIMITS = Limits(context_tokens=100, input_tokens=90, vocabulary=128)


def make_worker(worker_id: str = "small-0", tiers: tuple[int, ...] = (0,)) -> Worker:
    return Worker(worker_id=worker_id, tiers=tiers, handle=None)


def make_pool(*workers: Worker) -> WritablePool:
    """A pool in which all of these workers serve."""
    pool = WritablePool()
    for worker in workers:
        pool.add(worker)
        pool.admit(worker, LIMITS)
    return pool


def test_the_least_loaded_worker_of_a_tier_is_picked() -> None:
    busy, idle, other = make_worker("a"), make_worker("b"), make_worker("c", tiers=(1,))
    pool = make_pool(busy, idle, other)
    pool.assign("r1", busy)
    assert pool.pick(0) is idle
    pool.assign("r2", idle)
    pool.assign("r3", idle)
    assert pool.pick(0) is busy


def test_the_oldest_of_equally_loaded_workers_is_picked() -> None:
    first, second = make_worker("z"), make_worker("a")
    pool = make_pool(first, second)
    assert pool.pick(0) is first


def test_the_order_of_admission_does_not_make_a_worker_older() -> None:
    pool, first, second = WritablePool(), make_worker("a"), make_worker("b")
    pool.add(first)
    pool.add(second)
    pool.admit(second, LIMITS)
    pool.admit(first, LIMITS)
    assert pool.pick(0) is first


def test_a_worker_of_several_tiers_serves_each_of_them_and_no_other() -> None:
    shared = make_worker(tiers=(0, 2))
    pool = make_pool(shared)
    assert [pool.pick(tier) for tier in (0, 1, 2)] == [shared, None, shared]


def test_a_starting_worker_is_not_picked_until_it_is_admitted() -> None:
    pool, worker = WritablePool(), make_worker()
    pool.add(worker)
    assert worker.state is WorkerState.STARTING
    assert pool.pick(0) is None
    assert pool.limits(0) is None
    pool.admit(worker, LIMITS)
    assert worker.state is WorkerState.READY
    assert pool.pick(0) is worker
    assert pool.limits(0) == LIMITS


@pytest.mark.parametrize(
    ("leave", "state"),
    [(WritablePool.drain, WorkerState.DRAINING), (WritablePool.remove, WorkerState.DEAD)],
    ids=["draining", "removed"],
)
def test_a_worker_that_leaves_is_not_picked_any_more(leave: object, state: WorkerState) -> None:
    leaving, staying = make_worker("a"), make_worker("b")
    pool = make_pool(leaving, staying)
    pool.assign("r1", staying)
    leave(pool, leaving)  # type: ignore[operator]
    assert leaving.state is state
    assert pool.pick(0) is staying
    assert pool.ready() == [staying]
    leave(pool, staying)  # type: ignore[operator]
    assert pool.pick(0) is None
    assert pool.limits(0) is None


def test_a_draining_worker_stays_in_the_pool_with_its_attempts() -> None:
    worker = make_worker()
    pool = make_pool(worker)
    pool.assign("r1", worker)
    pool.drain(worker)
    assert list(pool) == [worker]
    assert pool.worker_of("r1") is worker


def test_a_removed_workers_attempts_stay_assigned_until_they_end() -> None:
    worker = make_worker()
    pool = make_pool(worker)
    pool.assign("r1", worker)
    pool.remove(worker)
    assert list(pool) == []
    assert pool.worker_of("r1") is worker
    pool.release("r1")
    assert worker.rids == set()


def test_an_assigned_attempt_finds_its_worker_until_it_is_released() -> None:
    worker = make_worker()
    pool = make_pool(worker)
    pool.assign("r1", worker)
    assert pool.worker_of("r1") is worker
    assert worker.rids == {"r1"}
    pool.release("r1")
    assert pool.worker_of("r1") is None
    assert worker.rids == set()


def test_releasing_an_unknown_attempt_changes_nothing() -> None:
    worker = make_worker()
    pool = make_pool(worker)
    pool.assign("r1", worker)
    pool.release("r2")
    assert worker.rids == {"r1"}


@pytest.mark.parametrize("rid", [None, "unknown"])
def test_a_rid_of_no_attempt_has_no_worker(rid: str | None) -> None:
    assert make_pool(make_worker()).worker_of(rid) is None


def test_a_bypassed_tier_has_no_worker_until_it_is_restored() -> None:
    worker, other = make_worker("a"), make_worker("b", tiers=(0, 1))
    pool = make_pool(worker, other)
    pool.bypass([0])
    assert (pool.pick(0), pool.limits(0), pool.pick(1)) == (None, None, other)
    assert pool.ready() == [worker, other]
    pool.restore([0])
    assert pool.pick(0) is worker
