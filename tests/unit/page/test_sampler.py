"""Rows of a second: what rose since the last one, and the state of the workers."""

import asyncio
import json
import tracemalloc
from types import SimpleNamespace
from typing import Any

import pytest

from cascadia_sglang.page.sampler import ROWS, Sampler, changed
from cascadia_sglang.page.traffic_log import TrafficLog
from cascadia_sglang.pool.pool import WorkerState
from cascadia_sglang.prefix.speed import PublishedLoad
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.request import ResponseSummary
from cascadia_sglang.testing.engine import FakeEngine, make_request
from cascadia_sglang.testing.services import make_router
from cascadia_sglang.testing.time import run_in_virtual_time
from tests.unit.router.asking import GOOD, TWO, WEAK

LOAD = PublishedLoad(
    at_s=0.0,
    running=2,
    waiting=3,
    waiting_tokens=0,
    max_running=8,
    prefilled_tokens=0,
    prefill_us=0,
    used_tokens=250,
    total_tokens=1000,
)


class Pool(list):  # type: ignore[type-arg]
    """Workers, with what the sampler asks of a pool."""

    bypassed: frozenset[int] = frozenset()


def make_worker(name: str) -> Any:
    return SimpleNamespace(worker_id=name, state=WorkerState.READY, rids={"a"})


def loop_time() -> float:
    """Of the running loop, whose time the tests make up; 0 without one."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return 0.0


def make_sampler(load: Any = None) -> tuple[Sampler, TrafficLog, Any, Pool]:
    log = TrafficLog(["small", "large"])
    router = make_router(TWO, FakeEngine(WEAK, GOOD), others=[log])
    pool = Pool([make_worker("small-1"), make_worker("large-1")])
    mover: Any = SimpleNamespace(number=1, last=None)
    fleet: Any = SimpleNamespace(losses=())
    sampler = Sampler(
        log,
        pool,  # type: ignore[arg-type]
        router,
        fleet,
        mover,
        None,
        lambda _: load,
        clock=loop_time,
    )
    return sampler, log, router, pool


def rows(sampler: Sampler) -> list[dict[str, Any]]:
    return [json.loads(bytes(raw)) for raw in sampler.rows.after(0)]


async def answered(router: Any, rid: str) -> None:
    request = make_request(rid=rid)
    async for _ in router.answer(request, None, Controls(), ResponseSummary()):
        pass


def test_the_flows_of_all_rows_add_up_to_the_counters() -> None:
    sampler, log, router, _ = make_sampler()

    async def main() -> None:
        for number in range(7):
            await answered(router, f"request-{number}")
            if number % 3 == 0:
                sampler.sample()
        sampler.sample()

    asyncio.run(main())
    total: dict[str, int] = {}
    for row in rows(sampler):
        for flow, count in row["flows"].items():
            total[flow] = total.get(flow, 0) + count
    assert total == {"/".join(flow): count for flow, count in log.flows.items() if count}
    assert total["climb/small/large/below_threshold"] == 7


def test_a_row_has_the_load_of_every_worker() -> None:
    sampler, *_ = make_sampler(LOAD)
    sampler.sample()
    (row,) = rows(sampler)
    assert row["workers"] == {
        name: {"attempts": 1, "running": 2, "queued": 3, "kv": 0.25}
        for name in ("small-1", "large-1")
    }
    assert row["thresholds"] == [0.8]
    silent, *_ = make_sampler()
    silent.sample()
    assert rows(silent)[0]["workers"]["small-1"]["queued"] is None


def test_rows_are_kept_for_a_quarter_of_an_hour() -> None:
    sampler, *_ = make_sampler()
    for _ in range(ROWS + 5):
        sampler.sample()
    assert len(rows(sampler)) == ROWS == 900
    assert sampler.rows.number == ROWS + 5


def test_the_rows_of_eight_workers_take_little_memory() -> None:
    """A part of the figure in the guide."""
    sampler, log, _, pool = make_sampler(LOAD)
    pool.extend(make_worker(f"small-{number}") for number in range(2, 8))
    kinds = ("entry", "answer", "climb", "tokens", "prompt_tokens", "cached_tokens")
    flows = [(kind, tier, "below_threshold") for kind in kinds for tier in ("s", "m", "l")]
    tracemalloc.start()
    try:
        for _ in range(2 * ROWS):
            log.flows.update(flows)
            sampler.sample()
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < 1_500_000


def test_a_look_that_fails_costs_no_later_one(caplog: pytest.LogCaptureFixture) -> None:
    sampler, _, _, pool = make_sampler()

    async def main() -> None:
        task = asyncio.create_task(sampler.run())
        pool.append(SimpleNamespace())
        await asyncio.sleep(10.5)
        pool.pop()
        await asyncio.sleep(3.0)
        task.cancel()

    run_in_virtual_time(main())
    assert sampler.rows.number == 3
    logged = [record.args for record in caplog.records if "lacks a row" in record.message]
    assert logged == [(1,), (10,)]


def test_rows_are_a_second_apart_and_say_how_long_they_are() -> None:
    sampler, *_ = make_sampler()

    async def main() -> None:
        task = asyncio.create_task(sampler.run())
        await asyncio.sleep(10.5)
        task.cancel()

    run_in_virtual_time(main())
    assert [row["seconds"] for row in rows(sampler)] == pytest.approx([1.0] * 10, abs=0.01)


def test_what_did_not_rise_is_not_in_a_row() -> None:
    assert changed({("a",): 1, ("b", "c"): 2}, {("a",): 1, ("b", "c"): 5}) == {"b/c": 3}
