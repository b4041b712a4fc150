"""The page's routes over a real router with a scripted engine, served on a port of this machine."""

import asyncio
import contextlib
import itertools
import json
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fastapi
import msgspec
import uvicorn
from fastapi.responses import StreamingResponse

from cascadia_sglang.config.settings import CascadeConfig, PlannerConfig
from cascadia_sglang.config.voices import Voices
from cascadia_sglang.controller.gearbox import Gearbox
from cascadia_sglang.controller.mover import Mover
from cascadia_sglang.fleet.recovery import LostWorker
from cascadia_sglang.http.page.page_routes import page_routes
from cascadia_sglang.http.status import status
from cascadia_sglang.http.write_routes import write_routes
from cascadia_sglang.messages import JudgeReport
from cascadia_sglang.metrics.counters import Metrics
from cascadia_sglang.page.discarded import DiscardedAnswers
from cascadia_sglang.page.sampler import Sampler
from cascadia_sglang.page.traffic_log import TrafficLog
from cascadia_sglang.pool.pool import Worker, WorkerState, WritablePool
from cascadia_sglang.pool.worker_ends import WorkerEnd
from cascadia_sglang.prefix.speed import PublishedLoad
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.engine_protocol import Output
from cascadia_sglang.router.request import ResponseSummary
from cascadia_sglang.testing.engine import FakeEngine, FakeRun, Reply, make_cascade, make_request
from cascadia_sglang.testing.services import make_router
from tests.system.serving import free_port
from tests.unit.controller.fakes import Workers
from tests.unit.judge.judging import make_calibration

ADMIN_KEY = "the admin key"
# Of rows, and so of what the page asks for; a real server's are a second apart.
INTERVAL_S = 0.25
SMALL = {
    "easy": Reply(score=0.93, seconds=0.02, tokens=6),
    "hard": Reply(score=0.31, seconds=0.03, tokens=9, text="a weak answer"),
}
LARGE = Reply(score=None, seconds=0.06, tokens=12, text="a good answer")
VOICES = Voices.single(["small", "large"])
NO_PREFIXES = {
    "held_tokens": {"small-1": 320, "large-1": 64},
    "blocks": 24,
    "bytes": 4096,
    "refused": 0,
    "told": {"promises": 0, "stale_per_1000": None},
    "guessed": {"promises": 10, "stale_per_1000": 0.5},
    "events": {},
}


class CountingEngine(FakeEngine):
    """A scripted engine whose outputs say how long the prompt was, and what was cached of it."""

    async def _finish(self, run: FakeRun, reply: Reply) -> tuple[Output, JudgeReport]:
        output, report = await super()._finish(run, reply)
        output["meta_info"] |= {"prompt_tokens": 40, "cached_tokens": 10}
        return output, report


class FakedServer:
    """What `RunningCascade` says, without workers. `lose` ends one of them."""

    def __init__(self, sample: Path | None) -> None:
        self.config: CascadeConfig = msgspec.structs.replace(
            make_cascade("small", "large"),
            planner=PlannerConfig(sample=None if sample is None else str(sample)),
        )
        self.pools = ["small", "large"]
        self.metrics = Metrics(["small", "large"])
        self.shows_old_metric_names = False
        self.controller = self.self_calibration = None
        self.traffic_log = TrafficLog(["small", "large"])
        self.discarded = DiscardedAnswers(["small", "large"])
        quantiles = [step / 100 for step in range(101)]
        calibration = msgspec.structs.replace(
            make_calibration(0, 0.0), score_quantiles=quantiles, quantile_samples=500
        )
        self.router = make_router(
            self.config,
            CountingEngine(SMALL, LARGE),
            calibrations={0: calibration},
            others=[self.traffic_log, self.discarded],
        )
        self.writable = WritablePool()
        self.pool = self.writable
        for name, tier in (("small-1", 0), ("small-2", 0), ("large-1", 1)):
            self.add(name, tier)
        self.losses: deque[LostWorker] = deque(maxlen=9)
        workers = Workers()
        self.fleet: Any = SimpleNamespace(losses=self.losses, pool_of=workers.pool_of)
        self.gearbox = Gearbox(self.config, self.router, lambda: [[0], [0]])
        self.mover = Mover(workers, self.gearbox, self.config, self.metrics)
        self.sampler = Sampler(
            self.traffic_log,
            self.pool,
            self.router,
            self.fleet,
            self.mover,
            None,
            self._load,
            interval_s=INTERVAL_S,
        )
        self.url = ""

    def flag_of(self, tier_index: int, field: str) -> Any:
        del tier_index, field

    def open_metrics(self) -> None: ...

    def add(self, name: str, tier: int) -> None:
        """A worker that serves at once."""
        handle: Any = SimpleNamespace(
            pids=[1000 + len(list(self.pool))],
            replica=SimpleNamespace(node=0),
            devices=(),
            device_share=None,
            phases={},
            pool=SimpleNamespace(name=self.config.tiers[tier].name),
        )
        worker = Worker(worker_id=name, tiers=(tier,), handle=handle)
        worker.state = WorkerState.READY
        self.writable.add(worker)

    def lose(self, name: str) -> None:
        """End a worker as a killed one ends."""
        worker = self.pool.get(name)
        assert worker is not None
        lost = LostWorker(worker_id=name, why="a process ended", end=WorkerEnd.OUTSIDE)
        self.losses.append(lost)
        self.writable.remove(worker)

    def _load(self, worker: Worker) -> PublishedLoad:
        del worker
        return PublishedLoad(
            at_s=time.time(),
            running=1,
            waiting=2,
            waiting_tokens=0,
            max_running=8,
            prefilled_tokens=0,
            prefill_us=0,
            used_tokens=300,
            total_tokens=1000,
        )

    def status(self) -> dict[str, Any]:
        return status(self.config, self.pool, self.router, self.mover, NO_PREFIXES, 0, VOICES)

    async def answer(self, text: str, rid: str) -> tuple[Any, ResponseSummary]:
        """One request through the router."""
        summary = ResponseSummary()
        request = make_request(text, rid=rid)
        item = await anext(self.router.answer(request, None, Controls(), summary))
        return item, summary

    async def send_traffic(self) -> None:
        """About 20 requests a second, every third of them hard."""
        running: set[asyncio.Task[Any]] = set()
        for number in itertools.count():
            text = "hard" if number % 3 == 0 else "easy"
            task = asyncio.create_task(self.answer(text, f"request-{number}"))
            running.add(task)
            task.add_done_callback(running.discard)
            await asyncio.sleep(0.05)


def application(server: FakedServer) -> fastapi.FastAPI:
    """The page's routes, the writing ones, and a chat that is streamed."""

    @contextlib.asynccontextmanager
    async def lifespan(_: fastapi.FastAPI) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(server.sampler.run()),
            asyncio.create_task(server.send_traffic()),
        ]
        yield
        for task in tasks:
            task.cancel()

    app = fastapi.FastAPI(lifespan=lifespan)
    keys: Any = SimpleNamespace(api_key=None, admin_api_key=ADMIN_KEY)
    app.include_router(page_routes(server, server.status))
    app.include_router(write_routes(server, SimpleNamespace(server_args=keys)))  # type: ignore[arg-type]

    @app.get("/cascadia/status")
    async def get_status() -> dict[str, Any]:
        return server.status()

    @app.post("/v1/chat/completions")
    async def chat(request: fastapi.Request) -> fastapi.Response:
        body = await request.json()
        item, summary = await server.answer(body["messages"][0]["content"], body["rid"])

        async def events() -> AsyncIterator[str]:
            for part in item["text"].split(" "):
                delta = {"choices": [{"delta": {"content": f"{part} "}}]}
                yield f"data: {json.dumps(delta)}\n\n"
            yield "data: [DONE]\n\n"

        tier = server.config.tiers[summary.tier_index].name
        headers = {"x-cascadia-tier": tier, "x-cascadia-reason": str(summary.reason)}
        return StreamingResponse(events(), headers=headers, media_type="text/event-stream")

    return app


@contextlib.contextmanager
def served(sample: Path | None) -> Iterator[FakedServer]:
    """A faked server that answers at its `url` under load."""
    server = FakedServer(sample)
    port = free_port()
    config = uvicorn.Config(application(server), port=port, log_config=None)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20.0
    while not running.started and time.monotonic() < deadline:
        time.sleep(0.02)
    assert running.started
    server.url = f"http://127.0.0.1:{port}"
    try:
        yield server
    finally:
        running.should_exit = True
        thread.join(10)
