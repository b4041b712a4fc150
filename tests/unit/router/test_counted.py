"""How the metrics count requests that end with an error."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, cast

import fastapi
import pytest

from cascadia_sglang.errors import RequestError
from cascadia_sglang.metrics.counters import CountedAttempt, Metrics
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.request import ResponseSummary
from cascadia_sglang.testing.engine import FakeEngine, FakeRequest, Reply, make_request
from cascadia_sglang.testing.services import make_router
from cascadia_sglang.testing.time import run_in_virtual_time
from tests.unit.router.asking import FOREVER, GOOD, TWO, Answer, ask


class CountingMetrics:
    """Notes what it is told; in place of the metrics."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.answers = 0

    @property
    def metrics(self) -> Metrics:
        return cast(Metrics, self)

    def failed(self, attempts: Iterable[CountedAttempt], status: int) -> None:
        del attempts
        self.statuses.append(status)

    def answered(self, *_: Any) -> None:
        self.answers += 1


def refused(error: Exception) -> tuple[Answer, list[int]]:
    counted = CountingMetrics()
    answer = ask(FakeEngine(Reply(error=error), GOOD), metrics=counted.metrics)
    return answer, counted.statuses


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("temperature must be above 0"), 400),
        (fastapi.HTTPException(404, "no such adapter"), 404),
        (fastapi.HTTPException(429, "the queue is full"), 429),
        (RequestError(503, "no tier is available"), 503),
        (RequestError(504, "deadline passed"), 504),
        (RuntimeError("a fault of ours"), 500),
    ],
)
def test_an_error_counts_under_the_status_that_the_client_gets(
    error: Exception, status: int
) -> None:
    answer, statuses = refused(error)
    assert answer.error is error
    assert statuses == [status]
    assert answer.summary.is_counted


def test_an_answer_counts_as_no_error() -> None:
    counted = CountingMetrics()
    answer = ask(FakeEngine(GOOD, GOOD), metrics=counted.metrics)
    assert (counted.statuses, counted.answers) == ([], 1)
    assert answer.summary.is_counted


class Gone:
    """An HTTP request whose client has left."""

    async def is_disconnected(self) -> bool:
        return True


def test_a_client_that_hung_up_counts_as_499() -> None:
    counted = CountingMetrics()
    ask(
        FakeEngine(FOREVER, GOOD),
        http_request=Gone(),
        metrics=counted.metrics,
        meanwhile=lambda router: router.watch_disconnects(),
    )
    assert counted.statuses == [499]


def cancelled(request: FakeRequest, engine: FakeEngine) -> list[int]:
    counted = CountingMetrics()

    async def main() -> None:
        router = make_router(TWO, engine, metrics=counted.metrics)
        answer = router.answer(request, None, Controls(), ResponseSummary())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await anext(answer)
        await asyncio.sleep(0)

    run_in_virtual_time(main())
    return counted.statuses


def test_a_handler_that_is_cancelled_counts_as_499() -> None:
    assert cancelled(make_request(), FakeEngine(FOREVER, GOOD)) == [499]
    assert cancelled(make_request("a", "b"), FakeEngine(FOREVER, GOOD)) == [499, 499]


@pytest.mark.parametrize("stream", [False, True])
def test_prompts_that_end_for_another_of_their_batch_count_under_its_status(stream: bool) -> None:
    counted = CountingMetrics()
    replies = {"bad": Reply(error=ValueError("bad"), seconds=1.0), "a": FOREVER, "b": FOREVER}
    ask(
        FakeEngine(replies, GOOD),
        request=make_request("a", "bad", "b", stream=stream),
        metrics=counted.metrics,
    )
    assert counted.statuses == [400, 400, 400]


def refuse_to_split(engine: FakeEngine) -> None:
    def split(request: FakeRequest, pinned_tier: int | None) -> list[list[Any]]:
        del request, pinned_tier
        raise ValueError("n must be at least 1")

    engine.split = split  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("break_engine", "is_admitting", "status"),
    [(refuse_to_split, True, 400), (lambda _: None, False, 503)],
)
def test_a_request_without_any_prompt_yet_counts_once(
    break_engine: Callable[[FakeEngine], None],
    is_admitting: bool,
    status: int,
) -> None:
    counted = CountingMetrics()
    engine = FakeEngine(GOOD, GOOD)
    break_engine(engine)
    answer = ask(
        engine,
        request=make_request("a", "b"),
        metrics=counted.metrics,
        is_admitting=is_admitting,
    )
    assert counted.statuses == [status]
    assert answer.summary.is_counted
