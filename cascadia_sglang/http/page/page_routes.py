"""The page `GET /cascadia`, its files, and what it reads while it is open."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fastapi
import msgspec

from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.errors import CascadiaError, RequestError
from cascadia_sglang.http.plan import active_plan
from cascadia_sglang.http.running_cascade import RunningCascade
from cascadia_sglang.http.write_routes import cascadia_error
from cascadia_sglang.page.files import INDEX, PageFile, page_files
from cascadia_sglang.page.score_shapes import score_shapes
from cascadia_sglang.page.traffic_log import TrafficLog
from cascadia_sglang.page.what_if import as_json, what_if
from cascadia_sglang.planner.online.weighted_sample import EntryWindow
from cascadia_sglang.planner.thresholds.sample import PlanSample, load_plan_sample

# The page takes an admin key: it runs nothing that is not its own, and nobody frames it.
_HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def page_routes(
    server: RunningCascade, status_now: Callable[[], dict[str, Any]]
) -> fastapi.APIRouter:
    """The routes, for SGLang's application.

    Args:
        status_now: the answer of `GET /cascadia/status`.
    """
    router = fastapi.APIRouter()
    log, sampler, config = server.traffic_log, server.sampler, server.config
    names = [tier.name for tier in config.tiers]
    sample = _Sample(config)
    # A replay of a large sample takes a while, and the server's other work needs threads too.
    replay_turn = asyncio.Lock()

    @router.get("/cascadia")
    async def get_page(request: fastapi.Request) -> fastapi.Response:
        return _file(page_files()[INDEX], request)

    @router.get("/cascadia/page/{name:path}")
    async def get_file(name: str, request: fastapi.Request) -> fastapi.Response:
        file = page_files().get(name)
        if file is None:
            return cascadia_error(RequestError(404, f"the page has no file {name!r}"))
        return _file(file, request)

    @router.get("/cascadia/live")
    async def get_live(request: fastapi.Request) -> fastapi.Response:
        try:
            row, number, event = (_known(request, key) for key in ("since", "requests", "events"))
        except RequestError as error:
            return cascadia_error(error)
        # An open page shows an event with the status that it changed, not a second later.
        sampler.update_timeline()
        timeline = sampler.timeline.events
        return _json(
            {
                "at": time.time(),
                "interval_s": sampler.interval_s,
                "status": status_now(),
                "plan": active_plan(server.mover, server.controller),
                "has_sample": config.planner.sample is not None,
                "rows": sampler.rows.after(row),
                "requests": log.requests_after(number if number <= log.number else 0),
                "events": timeline.after(event),
                "last": {
                    "row": sampler.rows.number,
                    "request": log.number,
                    "event": timeline.number,
                },
            }
        )

    @router.get("/cascadia/recent")
    async def get_recent() -> fastapi.Response:
        services = server.router.services
        shapes = score_shapes(
            names, log.scores, services.scores, services.drift.watch, services.shadow
        )
        return _json({"latency": log.latency.summary(time.time()), "judge": shapes})

    @router.get("/cascadia/what-if")
    async def get_what_if(request: fastapi.Request) -> fastapi.Response:
        try:
            then = _thresholds(request.query_params.get("thresholds", ""), len(names) - 1)
            rows = await sample.loaded()
            scores = server.router.services.scores
            now = [scores.threshold(tier) or 0.0 for tier in range(len(names) - 1)]
            window, costs = entry_window(log, now[0]), _costs(log)
            async with replay_turn:
                comparison = await asyncio.to_thread(what_if, rows, window, now, then, costs)
        except CascadiaError as error:
            return cascadia_error(error)
        return _json(as_json(comparison, costs))

    return router


class _Sample:
    """The planner's sample of a cascade; read when it is first asked for."""

    def __init__(self, config: CascadeConfig) -> None:
        self._config = config
        self._lock = asyncio.Lock()
        self._sample: PlanSample | None = None

    async def loaded(self) -> PlanSample:
        """Raises RequestError 409 where the cascade names none, ConfigError for a file that does
        not fit."""
        path = self._config.planner.sample
        if path is None:
            raise RequestError(
                409,
                "the cascade file names no planner.sample, which `cascadia calibrate` writes",
                "planner.sample",
            )
        async with self._lock:
            if self._sample is None:
                names = [tier.name for tier in self._config.tiers]
                self._sample = await asyncio.to_thread(load_plan_sample, Path(path), names)
        return self._sample


def entry_window(log: TrafficLog, threshold: float) -> EntryWindow:
    """The last requests that began at the first tier, for weights on a sample."""
    scored = [visit for visit in log.entries if visit.score is not None]
    ended = [visit for visit in log.entries if visit.score is None]
    return EntryWindow(
        scores=[visit.score for visit in scored if visit.score is not None],
        input_tokens=[visit.input_tokens for visit in (*scored, *ended)],
        output_tokens=[visit.output_tokens for visit in scored],
        ended=len(ended),
        threshold=threshold,
    )


def _costs(log: TrafficLog) -> list[float | None]:
    """Mean seconds of the last attempts at each tier; None where there was none."""
    return [round(sum(times) / len(times), 6) if times else None for times in log.attempt_s]


def _known(request: fastapi.Request, key: str) -> int:
    """The number of the last row, request or event that a reader has; 0 where it names none."""
    text = request.query_params.get(key, "0")
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise RequestError(400, f"{key} is {text!r}, allowed: a number of up to 18 digits", key)
    return int(text)


def _thresholds(text: str, count: int) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count or not all(0.0 <= v <= 1.0 and math.isfinite(v) for v in values):
        raise RequestError(
            400, f"thresholds is {text!r}, allowed: {count} numbers from 0 to 1", "thresholds"
        )
    return values


def _json(content: Any) -> fastapi.Response:
    headers = {"cache-control": "no-store"}
    return fastapi.Response(msgspec.json.encode(content), 200, headers, "application/json")


def _file(file: PageFile, request: fastapi.Request) -> fastapi.Response:
    headers = {**_HEADERS, "etag": file.etag}
    client_etags: Sequence[str] = request.headers.get("if-none-match", "").split(", ")
    if file.etag in client_etags:
        return fastapi.Response(None, 304, headers)
    return fastapi.Response(file.content, 200, headers, file.media_type)
