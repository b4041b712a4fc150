"""A run of SGLang's handler that pauses where it asks the engine, until it is given outputs."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sglang.srt.managers.io_struct import GenerateReqInput

# The run in whose task a line is executed.
_RUNNING: ContextVar[PausedHandler | None] = ContextVar("paused_handler", default=None)


class PausedHandler:
    """Owns the task of one run, which must be ended."""

    def __init__(self, answer: Awaitable[Any] | AsyncGenerator[str, None]) -> None:
        """Begin the run.

        Args:
            answer: of a handler that was called and has not begun; or the events of a stream.
        """
        loop = asyncio.get_running_loop()
        self._request: asyncio.Future[GenerateReqInput] = loop.create_future()
        self._outputs: asyncio.Future[AsyncIterator[Any]] = loop.create_future()
        self._answer = answer
        context = copy_context()
        context.run(_RUNNING.set, self)
        self._task: asyncio.Task[Any] = loop.create_task(self._run(), context=context)

    async def request(self) -> GenerateReqInput | None:
        """With which the handler asks the engine; None where it ends without asking.

        Raises:
            Exception: that the handler raised before.
        """
        await asyncio.wait({self._task, self._request}, return_when=asyncio.FIRST_COMPLETED)
        if self._request.done():
            return self._request.result()
        self._task.result()
        return None

    def give(self, outputs: AsyncIterator[Any]) -> None:
        """Let the run go on with these outputs."""
        self._outputs.set_result(outputs)

    async def response(self) -> Any:
        """What the handler returns."""
        return await self._task

    async def events(self) -> AsyncIterator[str]:
        """The events of a stream."""
        for event in await self._task:
            yield event
        assert isinstance(self._answer, AsyncGenerator)
        async for event in self._answer:
            yield event

    async def end(self) -> None:
        """End the run, however far it came."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if isinstance(self._answer, AsyncGenerator):
            await self._answer.aclose()
        elif inspect.iscoroutine(self._answer):
            self._answer.close()  # it may not have begun

    def pause(self, request: GenerateReqInput) -> AsyncIterator[Any]:
        """Take the handler's request to the engine; its outputs, once they are given."""
        self._request.set_result(request)
        return self._given()

    async def _given(self) -> AsyncIterator[Any]:
        outputs: Any = await self._outputs
        async with contextlib.aclosing(outputs):
            async for output in outputs:
                yield output

    async def _run(self) -> Any:
        """The response; of a stream, the events up to the first that needs an output."""
        if inspect.isawaitable(self._answer):
            return await self._answer
        first = []
        async for event in self._answer:
            first.append(event)
            if self._request.done():
                break
        return first


def outputs_for(request: GenerateReqInput) -> AsyncIterator[Any] | None:
    """The outputs for which a run pauses, if this line is executed in one; else None."""
    running = _RUNNING.get()
    return None if running is None else running.pause(request)
