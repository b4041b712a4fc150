"""Asks servers the demo's questions and compares what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.harness.client import post, send_at
from demo.tasks.families import MAX_ANSWER_TOKENS, TEST_FAMILIES, Row, is_correct
from demo.tasks.splits import sample

SEED = 71_000


@dataclass(frozen=True, slots=True)
class Said:
    """An answer.

    Attributes:
        status: of HTTP.
        token_ids: that the answer has; none where it failed.
    """

    status: int
    token_ids: tuple[int, ...]
    text: str
    meta: Mapping[str, Any]

    @property
    def attempts(self) -> Sequence[Mapping[str, Any]]:
        """A cascade's attempts; none of plain SGLang's."""
        story: Mapping[str, Any] = self.meta.get("cascadia") or {}
        return story.get("attempts") or ()


def questions(count: int, shift: int = 0) -> list[Row]:
    """Questions of every family; the longer answers more often, as they make the longer drafts."""
    return sample("test", SEED + shift, count, TEST_FAMILIES, weights={"steps": 6.0})


def ask(
    port: int,
    rows: Sequence[Row],
    width: int,
    headers: Mapping[str, str] | None = None,
    **sampling: Any,
) -> list[Said]:
    """Ask all questions, `width` at a time; an error is an answer too.

    Args:
        sampling: parameters, greedy by default.
    """
    parameters = {"temperature": 0, "max_new_tokens": MAX_ANSWER_TOKENS, **sampling}
    requests = [
        post("/generate", {"text": row.prompt, "sampling_params": parameters}, headers)
        for row in rows
    ]
    # All are due at once: the width alone holds them back.
    sent = send_at(port, requests, [0.0] * len(requests), width, must_succeed=False)
    return [_said(reply) for reply in sent.replies]


def _said(reply: Any) -> Said:
    if reply.status != 200:
        return Said(reply.status, (), repr(reply.raw[-300:]), {})
    body = reply.json()
    return Said(200, tuple(body["output_ids"]), body["text"], body["meta_info"])


def differing(first: Sequence[Said], second: Sequence[Said]) -> float:
    """The share of the answers whose tokens differ."""
    pairs = list(zip(first, second, strict=True))
    return sum(a.token_ids != b.token_ids for a, b in pairs) / max(1, len(pairs))


def failed(answers: Sequence[Said]) -> list[Said]:
    """Those that are errors."""
    return [answer for answer in answers if answer.status != 200]


def accuracy(rows: Sequence[Row], answers: Sequence[Said]) -> float:
    """The share of right answers."""
    right = [is_correct(row, answer.text) for row, answer in zip(rows, answers, strict=True)]
    return sum(right) / max(1, len(right))
