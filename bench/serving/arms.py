"""One way to answer the same questions, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.harness.client import Reply, Round
from bench.harness.estimates import Estimate, mean, spread
from bench.harness.load import text_of
from demo.tasks.families import Row as Question
from demo.tasks.families import is_correct


@dataclass(slots=True, kw_only=True)
class Arm:
    """A server, or a setting of one; entry i of each list belongs to question i, or to block i.

    Attributes:
        tiers: who answered, empty for a server of one model.
        discarded: tokens of answers that were not accepted.
    """

    name: str
    port: int
    headers: dict[str, str] = field(default_factory=dict)
    right: list[bool] = field(default_factory=list)
    tiers: list[str] = field(default_factory=list)
    answered_tokens: int = 0
    discarded_tokens: int = 0
    seconds: float = 0.0  # of all blocks
    requests_per_s: list[float] = field(default_factory=list)
    latency_p50_ms: list[float] = field(default_factory=list)
    latency_p95_ms: list[float] = field(default_factory=list)
    ttft_p50_ms: list[float] = field(default_factory=list)
    ttft_p95_ms: list[float] = field(default_factory=list)

    def add(self, block: Sequence[Question], sent: Round) -> None:
        """Take the whole replies to a block of questions."""
        for question, reply in zip(block, sent.replies, strict=True):
            self.right.append(is_correct(question, text_of(reply)))
            self._count(reply)
        self.seconds += sent.seconds
        self.requests_per_s.append(sent.requests_per_s)
        p50, p95 = np.quantile(sent.latencies_ms, (0.5, 0.95)).tolist()
        self.latency_p50_ms.append(p50)
        self.latency_p95_ms.append(p95)

    def add_streamed(self, sent: Round) -> None:
        """Take the times of streamed replies to a block of questions."""
        first_ms = [1000 * reply.first_byte_s for reply in sent.replies]
        p50, p95 = np.quantile(first_ms, (0.5, 0.95)).tolist()
        self.ttft_p50_ms.append(p50)
        self.ttft_p95_ms.append(p95)

    def _count(self, reply: Reply) -> None:
        meta = reply.json()["meta_info"]
        self.answered_tokens += meta["completion_tokens"]
        story = meta.get("cascadia")
        if story is not None:
            self.tiers.append(story["tier"])
            all_tokens = sum(attempt["tokens"] for attempt in story["attempts"])
            self.discarded_tokens += all_tokens - meta["completion_tokens"]

    def shares(self) -> dict[str, float]:
        """Share of the questions that each tier answered."""
        return {
            tier: count / len(self.tiers) for tier, count in sorted(Counter(self.tiers).items())
        }

    def discarded_share(self) -> float:
        """Of all generated tokens, those that no client saw."""
        return self.discarded_tokens / max(1, self.answered_tokens + self.discarded_tokens)

    def estimates(self) -> Iterator[tuple[str, str, Estimate]]:
        """Metric, unit and value of every row."""
        yield "accuracy", "1", mean(self.right)
        yield "requests_per_s", "1/s", spread(self.requests_per_s)
        yield "latency_p50", "ms", spread(self.latency_p50_ms)
        yield "latency_p95", "ms", spread(self.latency_p95_ms)
        if self.ttft_p50_ms:
            yield "ttft_p50", "ms", spread(self.ttft_p50_ms)
            yield "ttft_p95", "ms", spread(self.ttft_p95_ms)
        if self.tiers:
            count = len(self.tiers)
            yield "discarded_tokens", "1", Estimate(p50=self.discarded_share(), n=count)
            for tier, share in self.shares().items():
                yield f"answered_by_{tier}", "1", Estimate(p50=share, n=count)
