"""Rounds of two sides in blocks of four, so that order and drift fall on both alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.harness.client import Round
from bench.harness.estimates import Estimate, median_ratio, spread


@dataclass(slots=True)
class SideRounds:
    """All rounds of one side in a block, added up."""

    requests: int = 0
    seconds: float = 0.0

    def add(self, sent: Round) -> None:
        self.requests += len(sent.replies)
        self.seconds += sent.seconds

    @property
    def requests_per_s(self) -> float:
        return self.requests / self.seconds


@dataclass(frozen=True, slots=True)
class Block:
    """What both sides did with the same requests."""

    before: SideRounds
    after: SideRounds


def measure_blocks(
    batch: Callable[[], list[bytes]], send: Callable[[bool, list[bytes]], Round], count: int
) -> list[Block]:
    """Send the requests of a block four times: before, after, after, before; the next begins after.

    So neither side has requests more often when they are new, and a drift of the machine cancels.

    Args:
        batch: new requests for a block.
        send: sends them; its first argument says whether it is the side `after`.
    """
    blocks: list[Block] = []
    for number in range(count):
        sent = batch()
        block = Block(before=SideRounds(), after=SideRounds())
        first = number % 2 == 1
        for is_after in (first, not first, not first, first):
            (block.after if is_after else block.before).add(send(is_after, sent))
        blocks.append(block)
    return blocks


def throughputs(blocks: Sequence[Block]) -> tuple[Estimate, Estimate, Estimate]:
    """Requests per second before and after, and the ratio after / before, over the blocks."""
    before = [block.before.requests_per_s for block in blocks]
    after = [block.after.requests_per_s for block in blocks]
    return spread(before), spread(after), median_ratio(after, before)
