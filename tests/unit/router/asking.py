"""Sends a request through a router over a scripted engine, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.errors import RequestError
from cascadia_sglang.router.cascade import CascadeRouter
from cascadia_sglang.router.controls import Controls
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

TWO = make_cascade("small", "large")
THREE = make_cascade("small", "middle", "large")

GOOD, WEAK = Reply(score=0.9), Reply(score=0.3)
FOREVER = Reply(score=0.9, seconds=1e6)

# A coroutine that acts on the router while a request is on its way.
Meanwhile = Callable[[CascadeRouter], Awaitable[None]]


@dataclass
class Answer:
    """What a client got, and what it took."""

    items: list[Any] = field(default_factory=list)
    error: Exception | None = None
    summary: ResponseSummary = field(default_factory=ResponseSummary)
    seconds: float = 0.0
    router: CascadeRouter | None = None

    @property
    def text(self) -> str:
        return str(self.items[0]["text"])

    @property
    def story(self) -> dict[str, Any]:
        story: dict[str, Any] = self.items[0]["meta_info"]["cascadia"]
        return story

    @property
    def reasons(self) -> list[tuple[str, str]]:
        return [(attempt["tier"], attempt["reason"]) for attempt in self.story["attempts"]]

    @property
    def status(self) -> int:
        assert isinstance(self.error, RequestError), self.error
        return self.error.status


def ask(
    engine: FakeEngine,
    config: CascadeConfig = TWO,
    request: FakeRequest | None = None,
    controls: Controls | None = None,
    meanwhile: Meanwhile | None = None,
    http_request: Any = None,
    is_admitting: bool = True,
    **services: Any,
) -> Answer:
    """Send one request and collect what comes of it; `services` are those of `make_router`."""

    async def main() -> Answer:
        router = make_router(config, engine, **services)
        if not is_admitting:
            router.stop_admitting()
        answer = Answer(router=router)
        background = asyncio.ensure_future(meanwhile(router)) if meanwhile else None
        try:
            async for item in router.answer(
                request or make_request(), http_request, controls or Controls(), answer.summary
            ):
                answer.items.append(item)
        except Exception as error:  # noqa: BLE001  the test looks at it
            answer.error = error
        answer.seconds = asyncio.get_running_loop().time()
        if background is not None:
            background.cancel()
        # Attempts that were cancelled end in the loop's next turn.
        await asyncio.sleep(0)
        return answer

    return run_in_virtual_time(main())


def after(seconds: float, act: Callable[[CascadeRouter], Any]) -> Meanwhile:
    async def meanwhile(router: CascadeRouter) -> None:
        await asyncio.sleep(seconds)
        act(router)

    return meanwhile
