"""Aborts, shutdown, disconnects, and what is left of a request."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from cascadia_sglang.errors import RequestError
from cascadia_sglang.router.cascade import CascadeRouter
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.engine_protocol import Translation, attempt_rid
from cascadia_sglang.router.request import ResponseSummary
from cascadia_sglang.testing.engine import (
    FakeEngine,
    FakeRequest,
    Reply,
    make_cascade,
    make_request,
)
from cascadia_sglang.testing.services import make_router
from cascadia_sglang.testing.time import run_in_virtual_time
from tests.unit.router.asking import FOREVER, GOOD, TWO, WEAK, after, ask

# Abort and end


def test_an_abort_stops_the_climb_with_what_is_there() -> None:
    engine = FakeEngine(Reply(score=0.3, seconds=10.0), GOOD)

    def abort(router: CascadeRouter) -> None:
        for rid in router.abort("caller") or ():
            engine.abort(rid)

    answer = ask(engine, meanwhile=after(1.0, abort))
    assert engine.visits == [0]
    assert answer.reasons == [("small", "aborted")]
    assert answer.items[0]["meta_info"]["finish_reason"]["type"] == "abort"
    assert answer.seconds == 1.0


def test_an_abort_ends_the_wait_for_a_worker() -> None:
    engine = FakeEngine(GOOD, GOOD, workers=[0, 0])
    answer = ask(engine, meanwhile=after(1.0, lambda router: router.abort("caller")))
    assert (answer.status, answer.seconds) == (400, pytest.approx(1.0))
    answer = ask(engine, meanwhile=after(1.0, CascadeRouter.abort_all))
    assert (answer.status, answer.seconds) == (400, pytest.approx(1.0))


@pytest.mark.parametrize("end", [CascadeRouter.end_all, CascadeRouter.abort_all])
def test_all_requests_end_though_the_deadline_of_one_comes_at_the_same_moment(
    end: Callable[[CascadeRouter], None],
) -> None:
    async def main() -> list[float]:
        loop, ended = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda _, context: failures.append(context))
        router = make_router(TWO, FakeEngine(GOOD, GOOD, workers=[0, 0]))

        async def send(rid: str, deadline_s: float | None) -> None:
            controls = Controls(deadline_s=deadline_s)
            with pytest.raises(RequestError):
                await anext(router.answer(make_request(rid=rid), None, controls, ResponseSummary()))
            ended.append(loop.time())

        tasks = [asyncio.create_task(send("first", 1.0)), asyncio.create_task(send("other", None))]
        await asyncio.sleep(0.5)
        # After the timer of the deadline, in the same turn of the loop.
        loop.call_at(1.0 + 1e-12, end, router)
        await asyncio.gather(*tasks)
        return ended

    failures: list[dict[str, Any]] = []
    assert run_in_virtual_time(main()) == pytest.approx([1.0, 1.0])
    assert failures == []


def test_an_abort_while_a_draft_is_made_ready_lets_nothing_begin() -> None:
    engine = FakeEngine(WEAK, GOOD, tokenizers=[0, 1])
    drafts = make_cascade("small", "large", drafts=True)

    async def translated(*_: object) -> Translation:
        await asyncio.sleep(1.0)
        return Translation(token_ids=(1,))

    engine.translated = translated  # type: ignore[method-assign]
    answer = ask(engine, drafts, meanwhile=after(0.5, lambda router: router.abort("caller")))
    assert answer.status == 400
    assert engine.visits == [0]


def test_an_abort_names_the_attempts_that_run_now() -> None:
    engine = FakeEngine(WEAK, Reply(score=0.9, seconds=10.0))
    named: list[set[str] | None] = []
    ask(engine, meanwhile=after(1.0, lambda router: named.append(router.abort("caller"))))
    assert named == [{engine.runs[1].rid}]


def test_an_abort_of_an_unknown_rid_is_not_the_routers() -> None:
    named: list[set[str] | None] = []
    ask(
        FakeEngine(FOREVER, GOOD),
        meanwhile=after(1.0, lambda router: named.append(router.abort("other"))),
        controls=Controls(deadline_s=2.0),
    )
    assert named == [None]


def test_after_an_abort_of_all_nothing_climbs() -> None:
    engine = FakeEngine(Reply(score=0.3, seconds=10.0), GOOD)
    ask(engine, meanwhile=after(1.0, CascadeRouter.abort_all))
    assert engine.visits == [0]


def test_an_abort_before_the_first_attempt_runs_nothing() -> None:
    engine = FakeEngine(GOOD, GOOD, tokenise_seconds=2.0)
    ask(engine, meanwhile=after(1.0, lambda router: router.abort("caller")))
    assert engine.visits == []


def test_a_worker_lost_after_an_abort_is_not_replaced() -> None:
    engine = FakeEngine(Reply(lost=True, seconds=2.0), GOOD)
    ask(engine, meanwhile=after(1.0, lambda router: router.abort("caller")))
    assert engine.visits == [0]


def test_an_answer_that_the_engine_ended_is_final() -> None:
    engine = FakeEngine(Reply(score=0.3, seconds=10.0), GOOD)

    async def end(_: CascadeRouter) -> None:
        await asyncio.sleep(1.0)
        engine.abort(engine.runs[0].rid)

    assert ask(engine, meanwhile=end).reasons == [("small", "aborted")]


def test_end_all_gives_every_request_up() -> None:
    engine = FakeEngine(FOREVER, GOOD)
    answer = ask(engine, meanwhile=after(1.0, CascadeRouter.end_all))
    assert (answer.status, answer.seconds) == (503, 1.0)
    assert [run.end for run in engine.runs] == ["cancelled"]


def test_end_all_reaches_every_prompt_of_a_batch() -> None:
    engine = FakeEngine(FOREVER, GOOD)
    answer = ask(
        engine, request=make_request("one", "two"), meanwhile=after(1.0, CascadeRouter.end_all)
    )
    assert answer.status == 503
    assert [run.end for run in engine.runs] == ["cancelled", "cancelled"]


def test_a_request_given_up_before_its_first_attempt_runs_nothing() -> None:
    engine = FakeEngine(GOOD, GOOD, tokenise_seconds=2.0)
    answer = ask(engine, meanwhile=after(1.0, CascadeRouter.end_all))
    assert engine.visits == []
    assert answer.status == 503


def test_a_router_that_admits_nothing_answers_503() -> None:
    async def main() -> FakeEngine:
        engine = FakeEngine(GOOD, GOOD)
        router = make_router(TWO, engine)
        router.stop_admitting()
        with pytest.raises(RequestError) as raised:
            await anext(router.answer(make_request(), None, Controls(), ResponseSummary()))
        assert raised.value.status == 503
        return engine

    assert run_in_virtual_time(main()).visits == []


class DisconnectedRequest:
    """An HTTP request whose client left after some seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def is_disconnected(self) -> bool:
        return asyncio.get_running_loop().time() >= self._seconds


def test_a_request_that_nobody_waits_for_is_ended() -> None:
    engine = FakeEngine(FOREVER, GOOD)
    answer = ask(
        engine,
        http_request=DisconnectedRequest(2.5),
        meanwhile=lambda router: router.watch_disconnects(),
    )
    assert answer.status == 400
    # Gone after 2.5 seconds, ended within one more.
    assert 2.5 < answer.seconds <= 3.5
    assert [run.end for run in engine.runs] == ["cancelled"]


class UnseenRequest:
    """An HTTP request whose middleware fails where it is asked about the client."""

    async def is_disconnected(self) -> bool:
        raise RuntimeError("Unexpected message received: http.request")


def test_a_client_that_cannot_be_seen_leaves_the_others_watched(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> float:
        router = make_router(TWO, FakeEngine(FOREVER, GOOD))

        async def answered(rid: str, http_request: Any) -> list[Any]:
            outputs = router.answer(
                make_request(rid=rid), http_request, Controls(), ResponseSummary()
            )
            return [output async for output in outputs]

        watch = asyncio.create_task(router.watch_disconnects())
        unseen = asyncio.create_task(answered("unseen", UnseenRequest()))
        with pytest.raises(RequestError):
            async with asyncio.timeout(10):
                await answered("other", DisconnectedRequest(2.5))
        ended_s = asyncio.get_running_loop().time()
        # The client that cannot be seen is answered.
        assert not unseen.done()
        unseen.cancel()
        watch.cancel()
        return ended_s

    assert 2.5 < run_in_virtual_time(main()) <= 3.5
    assert [record.args for record in caplog.records] == [(1,)]


# Rids and what is left


def test_a_rid_that_is_on_its_way_is_refused_and_the_first_goes_on() -> None:
    async def main() -> tuple[Any, int]:
        router = make_router(TWO, FakeEngine(Reply(score=0.9, seconds=2.0), GOOD))
        first = asyncio.ensure_future(
            anext(router.answer(make_request(), None, Controls(), ResponseSummary()))
        )
        await asyncio.sleep(1.0)
        with pytest.raises(RequestError) as raised:
            await anext(router.answer(make_request(), None, Controls(), ResponseSummary()))
        return await first, raised.value.status

    item, status = run_in_virtual_time(main())
    assert status == 400
    assert item["meta_info"]["id"] == "caller"


def test_a_rid_may_be_used_again_once_answered() -> None:
    async def main() -> list[Any]:
        router = make_router(TWO, FakeEngine(GOOD, GOOD))
        return [
            await anext(router.answer(make_request(), None, Controls(), ResponseSummary()))
            for _ in range(2)
        ]

    assert len(run_in_virtual_time(main())) == 2


def test_no_rid_of_an_attempt_begins_another() -> None:
    async def main() -> FakeEngine:
        engine = FakeEngine(WEAK, GOOD)
        router = make_router(TWO, engine)
        for _ in range(12):
            await anext(router.answer(make_request(samples=7), None, Controls(), ResponseSummary()))
        return engine

    rids = sorted(run.rid for run in run_in_virtual_time(main()).runs)
    assert len(rids) == 12 * 7 * 2
    assert not any(later.startswith(rid) for rid, later in itertools.pairwise(rids))


@pytest.mark.parametrize(("number", "other"), [(1, 10), (10, 100), (99_999, 999_990)])
def test_no_attempt_number_begins_another(number: int, other: int) -> None:
    assert not attempt_rid("base", other).startswith(attempt_rid("base", number))


@pytest.mark.parametrize(
    ("engine", "request_", "meanwhile"),
    [
        (FakeEngine(GOOD, GOOD), make_request(), None),
        (FakeEngine(GOOD, GOOD), make_request("one", "two", samples=2), None),
        (FakeEngine(GOOD, GOOD), make_request("one", "two", stream=True), None),
        (FakeEngine(Reply(error=ValueError("no")), GOOD), make_request(), None),
        (FakeEngine(None, None), make_request("one", "two", stream=True), None),
        (FakeEngine(FOREVER, GOOD), make_request("one", "two"), CascadeRouter.end_all),
    ],
    ids=["single", "batch", "stream", "engine-error", "no-tier", "given-up"],
)
def test_nothing_is_left_once_a_request_has_ended(
    engine: FakeEngine, request_: FakeRequest, meanwhile: Callable[[CascadeRouter], None] | None
) -> None:
    answer = ask(engine, request=request_, meanwhile=meanwhile and after(1.0, meanwhile))
    assert answer.router is not None
    assert answer.router.active_count == 0
    assert all(run.end for run in engine.runs)


@pytest.mark.parametrize(
    "request_",
    [make_request(), make_request("one", "two"), make_request("one", "two", stream=True)],
    ids=["single", "batch", "stream"],
)
def test_nothing_is_left_of_a_request_that_is_cancelled(request_: FakeRequest) -> None:
    async def main() -> tuple[CascadeRouter, FakeEngine]:
        engine = FakeEngine(FOREVER, GOOD)
        router = make_router(TWO, engine)
        outputs = router.answer(request_, None, Controls(), ResponseSummary())
        task = asyncio.ensure_future(anext(outputs))
        await asyncio.sleep(1.0)
        assert router.active_count == len(request_.prompts)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        return router, engine

    router, engine = run_in_virtual_time(main())
    assert router.active_count == 0
    assert {run.end for run in engine.runs} == {"cancelled"}


def test_nothing_is_left_when_the_first_item_is_in_the_callers_hands() -> None:
    async def main() -> tuple[int, int]:
        router = make_router(TWO, FakeEngine(GOOD, GOOD))
        outputs = router.answer(make_request(), None, Controls(), ResponseSummary())
        await anext(outputs)
        return router.active_count, sum(router.services.counts.answered)

    assert run_in_virtual_time(main()) == (0, 1)
