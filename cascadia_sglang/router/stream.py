"""Streams answers token by token: when tokens may leave, and in which order."""

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from cascadia_sglang.router.attempt_orders import threshold_of
from cascadia_sglang.router.controls import has_one_tier, stream_mode
from cascadia_sglang.router.engine_protocol import Output
from cascadia_sglang.router.request import RequestPrompt
from cascadia_sglang.router.route import Route
from cascadia_sglang.router.services import Services


class Leaving(Enum):
    """When the answer of one attempt leaves."""

    AS_WRITTEN = "as written"
    ONCE_COMMITTED = "once committed"
    WHOLE = "whole"


def streamed_route(route: Route, prompt: RequestPrompt, services: Services) -> Route:
    """The route of a streamed request; tiers whose answers leave without a judge are not judged.

    In `direct` no tier is judged. Otherwise the first tier is not where the prompt alone gives it
    the chance `routing.commit_at_once`.
    """
    mode = stream_mode(prompt.controls, prompt.config)
    if mode == "direct":
        return dataclasses.replace(route, judged=frozenset())
    if mode != "buffered" and _is_sure(route, prompt, services):
        return dataclasses.replace(route, judged=route.judged - {route.tiers[0]})
    return route


def leaving(tier_index: int, route: Route, prompt: RequestPrompt, services: Services) -> Leaving:
    """When the answer of an attempt of a streamed request leaves."""
    mode = stream_mode(prompt.controls, prompt.config)
    if has_one_tier(prompt.controls, prompt.config):
        return Leaving.AS_WRITTEN
    if mode == "buffered":
        return Leaving.WHOLE
    if tier_index == route.tiers[-1] or tier_index not in route.judged:
        return Leaving.AS_WRITTEN
    if mode == "commit" or services.scores.tells_early(tier_index):
        return Leaving.ONCE_COMMITTED
    return Leaving.WHOLE


def _is_sure(route: Route, prompt: RequestPrompt, services: Services) -> bool:
    """Whether the prompt alone says that the tier where the climb begins will answer well."""
    least, tier = prompt.config.routing.commit_at_once, route.tiers[0]
    model = services.entry_model
    if least is None or model is None or tier == route.tiers[-1]:
        return False
    if not services.scores.is_ranked(tier):
        least = max(least, threshold_of(tier, prompt, services.scores))
    return model.chance(services.engine.prompt_ids(prompt.sample), tier) >= least


@dataclass(slots=True)
class _End:
    """A prompt is done: with an error, or with all its outputs sent."""

    error: BaseException | None


class Sink:
    """Where the outputs of one prompt's samples go on their way to the client.

    What an attempt says is held back until its tier is known to be final. From then on it is
    visible: it cannot be taken back.
    """

    def __init__(self, queue: "asyncio.Queue[Output | _End]", first_index: int | None) -> None:
        self._queue = queue
        self._first_index = first_index
        self.first_s: float | None = None  # when the first output left, `time.monotonic()`

    @property
    def is_visible(self) -> bool:
        """Whether the client has seen some of the answer."""
        return self.first_s is not None

    def send(self, number: int, rid: str, output: Output) -> None:
        """Send what the prompt's sample of this number says, under the caller's rid."""
        if self.first_s is None:
            self.first_s = time.monotonic()
        output = {**output, "meta_info": {**output["meta_info"], "id": rid}}
        if self._first_index is not None:
            output["index"] = self._first_index + number
        self._queue.put_nowait(output)


@dataclass(slots=True)
class Gate:
    """Holds the outputs of an attempt's samples until all of them are committed.

    Attributes:
        sink: where they go then.
        rids: the caller's, one a sample.
        is_incremental: whether an output continues the one before, rather than repeating it.
    """

    sink: Sink
    rids: list[str]
    is_incremental: bool
    held: list[tuple[int, Output]] = field(default_factory=list)
    committed: set[int] = field(default_factory=set)

    def take(self, number: int, output: Output, is_committed: bool) -> None:
        """Take an output that is not the sample's last."""
        if is_committed:
            self.committed.add(number)
        if not self.is_incremental:
            self.held = [entry for entry in self.held if entry[0] != number]
        if len(self.committed) == len(self.rids):
            for held_number, held in self.held:
                self.sink.send(held_number, self.rids[held_number], held)
            self.held.clear()
            self.sink.send(number, self.rids[number], output)
            return
        self.held.append((number, output))

    def whole(self, number: int, last: Output) -> Output:
        """A sample's last output with what is held of it, where outputs continue one another."""
        parts = [output for held_number, output in self.held if held_number == number]
        # The last output has them: they must not leave once more when another sample commits.
        self.held = [entry for entry in self.held if entry[0] != number]
        if not self.is_incremental or not parts:
            return last
        parts.append(last)
        meta_info = dict(last["meta_info"])
        for key, value in last["meta_info"].items():
            if isinstance(value, list):
                meta_info[key] = [x for part in parts for x in part["meta_info"].get(key) or ()]
        return {
            **last,
            "text": "".join(part["text"] for part in parts),
            "output_ids": [token for part in parts for token in part["output_ids"]],
            "meta_info": meta_info,
        }


async def streamed(
    climbs: Sequence[Callable[[Sink], Awaitable[list[Output]]]], samples_each: int, is_single: bool
) -> AsyncGenerator[Output, None]:
    """Outputs of some prompts as they come, the last ones of each at its end.

    Args:
        climbs: takes a prompt through the tiers; its last outputs, one a sample.
        is_single: whether there is one prompt of one sample, whose outputs carry no index.

    Raises:
        Exception: the first with which a prompt failed; the others are ended.
    """
    queue: asyncio.Queue[Output | _End] = asyncio.Queue()

    async def run(prompt: int, climb: Callable[[Sink], Awaitable[list[Output]]]) -> None:
        sink = Sink(queue, None if is_single else prompt * samples_each)
        error: BaseException | None = None
        try:
            for number, output in enumerate(await climb(sink)):
                sink.send(number, output["meta_info"]["id"], output)
        except Exception as caught:  # noqa: BLE001  raised where the outputs are read
            error = caught
        queue.put_nowait(_End(error))

    tasks = [asyncio.create_task(run(prompt, climb)) for prompt, climb in enumerate(climbs)]
    remaining = len(tasks)
    try:
        while remaining:
            item = await queue.get()
            if not isinstance(item, _End):
                yield item
            elif item.error is not None:
                raise item.error
            else:
                remaining -= 1
    finally:
        for task in tasks:
            task.cancel()
        # What they run is aborted before the request is forgotten.
        await asyncio.gather(*tasks, return_exceptions=True)


def is_last(output: Any) -> bool:
    """Whether a sample has ended with this output."""
    return output["meta_info"].get("finish_reason") is not None
