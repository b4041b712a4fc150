"""Responses streams: the events that only open a stream wait for the first one of the answer."""

import contextlib
from collections.abc import AsyncGenerator

_OPENING = ("event: response.created\n", "event: response.in_progress\n")


async def with_answer(events: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    """The same events; the opening ones leave together with the first event of the answer.

    SGLang writes them before it asks the engine, so the status and the headers of the response
    would be out before any tier has answered or refused.
    """
    held: list[str] = []
    is_open = False
    async with contextlib.aclosing(events):
        async for event in events:
            if not is_open and event.startswith(_OPENING):
                held.append(event)
                continue
            is_open = True
            for earlier in held:
                yield earlier
            held.clear()
            yield event
    for earlier in held:
        yield earlier
