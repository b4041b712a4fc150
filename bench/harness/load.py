"""Requests for every bench that asks a server; of the demo's test split, unless one has others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from bench.harness.client import Reply, post
from demo.tasks.families import MAX_ANSWER_TOKENS, Row
from demo.tasks.splits import sample


class Prompted(Protocol):
    """What has a prompt."""

    @property
    def prompt(self) -> str: ...


def questions(seed: int, count: int) -> list[Row]:
    """Rows of the test split; calibration and reports elsewhere use seed 0."""
    return sample("test", seed, count)


# A streamed answer leaves whole, once it is accepted. Plain SGLang does not know the header.
BUFFERED = {"x-cascadia-stream": "buffered"}


def requests(
    rows: Sequence[Prompted],
    *,
    max_tokens: int = MAX_ANSWER_TOKENS,
    stream_interval: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> list[bytes]:
    """Greedy requests to the native route, streamed where an interval is given."""
    sampling: dict[str, Any] = {"temperature": 0, "max_new_tokens": max_tokens}
    if stream_interval is not None:
        sampling["stream_interval"] = stream_interval
    body = {"sampling_params": sampling, "stream": stream_interval is not None}
    return [post("/generate", {"text": row.prompt, **body}, headers) for row in rows]


def text_of(reply: Reply) -> str:
    """The answer's text."""
    text: str = reply.json()["text"]
    return text


def tier_of(reply: Reply) -> str:
    """The tier that answered, of a reply by a cascade."""
    tier: str = reply.json()["meta_info"]["cascadia"]["tier"]
    return tier
