"""What counts as a fault of a pool, and what passes its tiers over."""

import time
from types import SimpleNamespace

from cascadia_sglang.fleet.recovery import FAULTS_TO_TRIP, FIRST_DELAY_S, Faults
from cascadia_sglang.pool.pool import Worker, WritablePool
from cascadia_sglang.pool.worker_ends import WorkerEnd
from cascadia_sglang.pool.worker_handle import Limits

SPEC = SimpleNamespace(index=0, tiers=(0,))


def scene(started: float = 0.0) -> tuple[Faults, WritablePool, Worker]:
    pool = WritablePool()
    handle = SimpleNamespace(pool=SPEC, started=started)
    worker = Worker(worker_id="small-0", tiers=(0,), handle=handle)
    pool.add(worker)
    pool.admit(worker, Limits(context_tokens=9, input_tokens=9, vocabulary=128))
    return Faults(pool), pool, worker


async def test_a_pool_with_too_many_faults_is_passed_over_though_its_worker_is_ready() -> None:
    faults, pool, worker = scene()
    for _ in range(FAULTS_TO_TRIP):
        faults.count(SPEC)
    assert pool.bypassed == {0}
    assert pool.pick(0) is None
    assert pool.pick_any(0) is worker


async def test_an_answer_of_a_worker_that_came_back_restores_its_tiers() -> None:
    faults, pool, old = scene()
    for _ in range(FAULTS_TO_TRIP):
        faults.count(SPEC)
    faults.answered(old)
    assert pool.bypassed == {0}
    old.handle.started = time.monotonic()
    faults.answered(old)
    assert pool.bypassed == set()
    assert pool.pick(0) is old


async def test_faults_that_a_named_request_explains_restore_the_tiers() -> None:
    faults, pool, worker = scene()
    forgiving = []
    for _ in range(FAULTS_TO_TRIP):
        at = time.monotonic()
        faults.count(SPEC, at, WorkerEnd.OWN_ERROR)
        forgiving.append(faults.forgiving(worker, at, WorkerEnd.OWN_ERROR))
    assert pool.bypassed == {0}
    assert forgiving[-1] is not None
    forgiving[-1]()
    assert pool.bypassed == set()


async def test_no_request_explains_an_end_from_outside() -> None:
    faults, _, worker = scene()
    assert faults.forgiving(worker, 1.0, WorkerEnd.OUTSIDE) is None
    assert faults.forgiving(worker, 1.0, WorkerEnd.CONTROL_CALL) is None


async def test_the_end_by_a_control_call_is_no_fault_of_the_pool() -> None:
    faults, pool, _ = scene()
    for _ in range(2 * FAULTS_TO_TRIP):
        assert faults.count(SPEC, None, WorkerEnd.CONTROL_CALL) == FIRST_DELAY_S
    assert pool.bypassed == set()
