"""A request that ends workers, and workers that someone kills: what the others see of it."""

import asyncio
import collections
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.system.crash import plugin_environment
from tests.system.serving import CASCADE, Server, start

pytestmark = [pytest.mark.sglang, pytest.mark.slow]

OTHERS = 200
SHORT = {"temperature": 0, "max_new_tokens": 24}
LONG = {"temperature": 0, "max_new_tokens": 60, "ignore_eos": True}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A cascade in which a marked request ends the worker that runs it."""
    folder = tmp_path_factory.mktemp("poison")
    server = start(folder, *CASCADE, "--enable-metrics", environment=plugin_environment(folder))
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


@dataclass
class Ends:
    """What became of requests that were under way together."""

    answers: list[httpx.Response] = field(default_factory=list)
    marked: list[httpx.Response] = field(default_factory=list)
    seconds: float = 0.0
    bypassed: set[str] = field(default_factory=set)
    pids: set[int] = field(default_factory=set)  # of all workers seen

    @property
    def codes(self) -> dict[int, int]:
        return dict(collections.Counter(answer.status_code for answer in self.answers))


def marked(number: int, **crash: Any) -> dict[str, Any]:
    """A body of which each number makes another."""
    params = {**LONG, "custom_params": {"crash": crash}}
    return {"text": f"rev abc{'abcdefghij'[number]}", "sampling_params": params}


def together(
    server: Server,
    act: Callable[[httpx.AsyncClient], Awaitable[list[httpx.Response]]],
    params: dict[str, Any],
    **headers: str,
) -> Ends:
    """Send many requests, act once they are under way, and wait for all ends."""

    async def main() -> Ends:
        ends = Ends()
        limits = httpx.Limits(max_connections=OTHERS + 8)
        async with httpx.AsyncClient(base_url=server.url, timeout=120, limits=limits) as client:

            async def ask(number: int) -> None:
                body = {"text": f"add {number} {7 * number}", "sampling_params": params}
                ends.answers.append(await client.post("/generate", json=body, headers=headers))

            async def watch() -> None:
                while True:
                    status = (await client.get("/cascadia/status")).json()
                    ends.bypassed.update(status["bypassed"])
                    for worker in status["workers"]:
                        ends.pids.update(worker["pids"])
                    await asyncio.sleep(0.1)

            started = time.monotonic()
            watcher = asyncio.create_task(watch())
            half = OTHERS // 2
            tasks = [asyncio.create_task(ask(number)) for number in range(half)]
            await until(client, lambda status: status["active"] >= half // 2)
            action = asyncio.ensure_future(act(client))
            tasks += [asyncio.create_task(ask(number)) for number in range(half, OTHERS)]
            ends.marked = await action
            await asyncio.gather(*tasks)
            ends.seconds = time.monotonic() - started
            await until(client, lambda status: {"small", "large"} == ready(status))
            watcher.cancel()
        return ends

    return asyncio.run(main())


async def until(
    client: httpx.AsyncClient, holds: Callable[[dict[str, Any]], bool], seconds: float = 40.0
) -> None:
    deadline = time.monotonic() + seconds
    while not holds((await client.get("/cascadia/status")).json()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def ready(status: dict[str, Any]) -> set[str]:
    return {w["tiers"][0] for w in status["workers"] if w["state"] == "ready"}


def poison_counts(server: Server) -> dict[str, int]:
    counts: dict[str, int] = server.status()["poison"]
    return counts


@pytest.mark.parametrize(
    ("number", "crash", "params"),
    [
        (0, {"by": "raise"}, SHORT),
        (1, {"by": "raise", "at": 10}, LONG),
        (2, {"by": "abort"}, SHORT),
    ],
    ids=["raises-at-once", "raises-later", "aborts"],
)
def test_a_request_that_ends_its_worker_gets_one_error_and_all_others_answer(
    server: Server, number: int, crash: dict[str, Any], params: dict[str, Any]
) -> None:
    before = poison_counts(server)
    body = marked(number, **crash)

    async def send(client: httpx.AsyncClient) -> list[httpx.Response]:
        # The second time while the body is remembered, and before it could reach a worker.
        return [await client.post("/generate", json=body) for _ in range(2)]

    ends = together(server, send, params)
    print(f"\n{crash}: {ends.codes}, {ends.seconds:.1f} s, {len(ends.pids) - 2} restarts")
    first, again = ends.marked
    assert (first.status_code, again.status_code) == (500, 500)
    assert "the request ended two workers" in first.text
    assert "it is refused" in again.text
    assert "retry-after" not in first.headers
    assert ends.codes == {200: OTHERS}
    assert len(ends.pids) - 2 <= 2
    assert ends.bypassed == set()
    named, refused = before["named"] + 1, before["refused"] + 1
    assert poison_counts(server) == {"named": named, "refused": refused}
    with server.client() as client:
        metrics = client.get("/metrics").text
    assert f'cascadia_poison_total{{outcome="named"}} {named}.0' in metrics
    log = server.log.read_text()
    assert "a request ended two workers" in log
    assert body["text"] not in log


def test_two_workers_killed_in_a_row_cost_no_request(server: Server) -> None:
    before = poison_counts(server)

    async def kill(client: httpx.AsyncClient) -> list[httpx.Response]:
        for tier in ("small", "large"):
            status = (await client.get("/cascadia/status")).json()
            worker = next(w for w in status["workers"] if w["tiers"] == [tier])
            os.kill(worker["pids"][0], signal.SIGKILL)
            await asyncio.sleep(0.3)
        return []

    ends = together(server, kill, LONG)
    print(f"\nSIGKILL: {ends.codes}, {ends.seconds:.1f} s, {len(ends.pids) - 2} restarts")
    assert ends.codes == {200: OTHERS}
    assert ends.bypassed == set()
    assert poison_counts(server) == before


def test_a_stream_that_ended_its_worker_is_named_when_it_comes_again(server: Server) -> None:
    body = {**marked(3, at=8), "stream": True}
    texts = []
    with server.client() as client:
        for _ in range(3):
            response = client.post("/generate", json=body, headers={"x-cascadia-stream": "direct"})
            texts.append(response.text)
            deadline = time.monotonic() + 40
            while ready(server.status()) != {"small", "large"}:
                assert time.monotonic() < deadline
                time.sleep(0.1)
    assert "incomplete" in texts[0]
    assert "the request ended two workers" in texts[1]
    assert "it is refused" in texts[2]
