"""Fills the next tier's prefix cache while the tier below still works on the answer.

SGLang's priorities cannot make a prefill yield, so the warming holds itself back: a chunk goes only
to a worker with nothing waiting, and the next one only when it is done. A decode step there waits
for one chunk at most. Chunk by chunk the prefix grows, so what is done stays useful whenever it
stops.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from cascadia_sglang.errors import WorkerDiedError
from cascadia_sglang.prefix.block_hashes import block_hashes
from cascadia_sglang.prefix.prompt import Prompt
from cascadia_sglang.prefix.reuse import Share, is_worth_warming, wanted_chance

logger = logging.getLogger(__name__)

LOOK_S = 0.01
# A prefix that is not warm by then waits for a worker that is always busy.
LIMIT_S = 10.0
# Warmed prefixes whose use is still awaited.
MAX_AWAITED = 4096

Mode = Literal["auto", "always", "off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quietness:
    """Of the worker that would hold the prefix: who it is, what it has to do.

    Attributes:
        held_tokens: of the prompt, in its cache.
        waiting: requests that it has not begun.
        running: requests that decode there.
    """

    worker_id: str
    held_tokens: int
    waiting: int
    running: int


# Makes a prompt in the tokens of the tier that is warmed; None where its cache keeps it apart.
NextPrompt = Callable[[], Awaitable[Prompt | None]]


class Prefiller(Protocol):
    """What can look at a tier's workers and prefill them."""

    def holder(self, tier_index: int, prompt: Prompt) -> Quietness | None:
        """The tier's worker that an attempt with this prompt would go to; None without any."""
        ...

    async def prefill(self, worker_id: str, prompt: Prompt, tokens: int) -> int:
        """Compute the first tokens of a prompt there; how many were not cached.

        Raises:
            CascadiaError: if the worker is gone or refuses.
        """
        ...


class WarmMetrics(Protocol):
    """Where warmings are counted."""

    def warmed(self, tier_index: int, outcome: str) -> None: ...

    def warm_tokens(self, tier_index: int, kind: str, tokens: int) -> None: ...


@dataclass(slots=True, kw_only=True)
class WarmCounts:
    """Of one tier.

    Attributes:
        warmed_tokens: computed there ahead of time.
        used_tokens: of those, found by an attempt later.
        finished, left: warmings; a left one stopped before its prompt's last chunk.
    """

    warmed_tokens: int = 0
    used_tokens: int = 0
    finished: int = 0
    left: int = 0


class Warming:
    """One prompt that is being warmed on one tier.

    Attributes:
        escalates: chance that it gets there.
        escalated: whether it does, once that is decided.
        lost: of a worker that ended by its own error while it computed a chunk.
    """

    def __init__(self, escalates: float) -> None:
        self.escalates = escalates
        self.escalated = False
        self.is_settled = False
        self.task: asyncio.Task[None] | None = None
        self.lost: WorkerDiedError | None = None

    def learn_chance(self, chance: float) -> None:
        """Learn the chance that the answer being written will be accepted."""
        self.escalates = 1.0 - chance


class Warmer:
    """Decides what is warmed, does it, and counts what came of it."""

    def __init__(
        self,
        prefiller: Prefiller,
        mode: Mode,
        chunk_tokens: int,
        tiers: int,
        metrics: WarmMetrics,
    ) -> None:
        """`chunk_tokens` are computed at a time; a shorter prompt is never warmed."""
        # Before anything is known, an escalation is as likely as not, and nothing comes back.
        self.counts = [WarmCounts() for _ in range(tiers)]
        self._metrics = metrics
        self._prefiller = prefiller
        self._mode = mode
        self._chunk_tokens = chunk_tokens
        self._escalates = [Share(0.5) for _ in range(tiers)]
        self._returns = Share(0.0)
        self._awaited: OrderedDict[tuple[int, int], int] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_on(self) -> bool:
        """Whether anything is ever warmed."""
        return self._mode != "off"

    def is_long(self, prompt: Prompt | None) -> bool:
        """Whether the prompt has a chunk to warm at all."""
        return self.is_on and prompt is not None and len(prompt.token_ids) >= self._chunk_tokens

    @contextlib.contextmanager
    def during(
        self,
        prompt: Prompt | None,
        tier_index: int,
        next_tier: int | None,
        *,
        is_first: bool,
        next_prompt: NextPrompt | None = None,
    ) -> Iterator[Warming | None]:
        """Warm the next tier while the block answers on a tier; the block sets `escalated`.

        Args:
            next_tier: to warm; None for none.
            is_first: whether the prompt begins its climb at `tier_index`.
            next_prompt: makes the prompt in the next tier's tokens; None where they are the same.

        Yields:
            None where nothing is warmed.
        """
        if next_tier is None or prompt is None or not self.is_long(prompt):
            yield None
            return
        warming = self.begin(
            prompt, tier_index, next_tier, is_first=is_first, next_prompt=next_prompt
        )
        try:
            yield warming
        finally:
            self.settled(warming, next_tier)

    def begin(
        self,
        prompt: Prompt,
        tier_index: int,
        next_tier: int,
        *,
        is_first: bool,
        next_prompt: NextPrompt | None = None,
    ) -> Warming:
        """Begin to warm the next tier for a prompt that a tier is about to answer.

        Args:
            is_first: whether the prompt begins its climb at that tier.
            next_prompt: as `during` has it.
        """
        if is_first:
            holder = self._prefiller.holder(tier_index, prompt)
            self._returns.add(holder is not None and holder.held_tokens >= self._chunk_tokens)
        warming = Warming(self._escalates[next_tier].value)
        warming.task = asyncio.create_task(self._warm(prompt, next_tier, warming, next_prompt))
        self._tasks.add(warming.task)
        warming.task.add_done_callback(self._tasks.discard)
        return warming

    def settled(self, warming: Warming, next_tier: int) -> None:
        """Learn the verdict, which ends the warming unless later requests are worth it.

        An attempt on the next tier goes on from what is warm by then; a chunk that is under way was
        begun before it, on a worker with nothing waiting.
        """
        self._escalates[next_tier].add(warming.escalated)
        warming.escalates, warming.is_settled = 0.0, True

    def learn_cached(self, tier_index: int, prompt: Prompt, cached_tokens: int) -> None:
        """Learn what an attempt on a tier found in its cache."""
        warmed = self._awaited.pop(self._key(tier_index, prompt), 0)
        if warmed:
            self._count(tier_index, "used", min(warmed, cached_tokens))

    def stop(self) -> None:
        """Warm nothing any more."""
        for task in self._tasks:
            task.cancel()

    async def _warm(
        self, prompt: Prompt, tier_index: int, warming: Warming, next_prompt: NextPrompt | None
    ) -> None:
        has_begun = False
        outcome = "left"
        try:
            async with asyncio.timeout(LIMIT_S):
                if next_prompt is not None:
                    # No worker of the tier holds anything of other tokens: what is looked at is
                    # whether warming is worth it.
                    if self._next_chunk(prompt, tier_index, warming) is None:
                        return
                    made = await next_prompt()
                    if made is None:
                        return
                    prompt = made
                while (chunk := self._next_chunk(prompt, tier_index, warming)) is not None:
                    worker_id, goal = chunk
                    if goal is None:
                        outcome = "finished"
                        break
                    if worker_id is None:
                        await asyncio.sleep(LOOK_S)
                        continue
                    has_begun = True
                    done = await self._prefiller.prefill(worker_id, prompt, goal)
                    self._count(tier_index, "warmed", done)
                    self._await_use(tier_index, prompt, done)
        except TimeoutError:
            logger.debug("a prompt was not warmed in %.0f s", LIMIT_S)
        except WorkerDiedError as error:
            warming.lost = error
        except Exception as error:  # noqa: BLE001  a request must not feel that warming failed
            logger.warning("warming tier %d failed: %s", tier_index, error)
        finally:
            if has_begun:
                self._end(tier_index, outcome)

    def _next_chunk(
        self, prompt: Prompt, tier_index: int, warming: Warming
    ) -> tuple[str | None, int | None] | None:
        """The worker and the tokens to compute next. None: not worth it, or the attempt is there.

        No worker: it is not quiet now. No tokens: all is warm.
        """
        if warming.is_settled and warming.escalated:
            return None
        holder = self._prefiller.holder(tier_index, prompt)
        if holder is None or not self._is_worth(warming, tier_index, holder):
            return None
        goal = (holder.held_tokens // self._chunk_tokens + 1) * self._chunk_tokens
        if goal > len(prompt.token_ids):
            return holder.worker_id, None
        return (None if holder.waiting else holder.worker_id), goal

    def _is_worth(self, warming: Warming, tier_index: int, holder: Quietness) -> bool:
        if self._mode == "always":
            return not warming.is_settled
        later = self._escalates[tier_index].value
        probability = wanted_chance(warming.escalates, later, self._returns.value)
        return is_worth_warming(probability, holder.running)

    def _count(self, tier_index: int, kind: Literal["warmed", "used"], tokens: int) -> None:
        counts = self.counts[tier_index]
        if kind == "warmed":
            counts.warmed_tokens += tokens
        else:
            counts.used_tokens += tokens
        self._metrics.warm_tokens(tier_index, kind, tokens)

    def _end(self, tier_index: int, outcome: str) -> None:
        counts = self.counts[tier_index]
        if outcome == "finished":
            counts.finished += 1
        else:
            counts.left += 1
        self._metrics.warmed(tier_index, outcome)

    def _await_use(self, tier_index: int, prompt: Prompt, tokens: int) -> None:
        key = self._key(tier_index, prompt)
        self._awaited[key] = self._awaited.pop(key, 0) + tokens
        if len(self._awaited) > MAX_AWAITED:
            self._awaited.popitem(last=False)

    def _key(self, tier_index: int, prompt: Prompt) -> tuple[int, int]:
        """A prompt's first chunk, which all prompts share that could use what was warmed."""
        # The event loop does not wait until all of a long prompt is hashed.
        hashes = block_hashes(prompt.token_ids[: self._chunk_tokens], self._chunk_tokens)
        return tier_index, int(hashes[0]) if len(hashes) else 0
