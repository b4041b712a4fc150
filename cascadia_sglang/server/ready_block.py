"""The block that a ready server logs: tiers, workers and addresses."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from cascadia_sglang.processes.logs import shown_bytes


class JudgeState(Enum):
    """How a tier's answers are rated, in the words of the block."""

    CALIBRATED = "calibrated"
    RANKED = "ranked: not calibrated"
    SELF_CALIBRATING = "ranked, calibrating itself"
    OFF = "off"
    HIDDEN = "off: its speculation hides the logits"


@dataclass(frozen=True, slots=True, kw_only=True)
class TierSummary:
    """A tier that serves.

    Attributes:
        model: its path or hub name.
        workers: ready ones, which other tiers may share.
        devices: numbers of their accelerators, ascending; none on a host.
        weights_bytes: of one worker; None where its files do not tell.
        kv_bytes: of one worker's key-value cache; None where they do not tell.
        kv_tokens: that it holds.
        accepts: which of its answers go out.
        judge: how they are rated.
    """

    name: str
    model: str
    workers: int
    devices: tuple[int, ...]
    weights_bytes: float | None
    kv_bytes: float | None
    kv_tokens: int
    accepts: str
    judge: JudgeState


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSummary:
    """A server that is ready.

    Attributes:
        url: that this host reaches it by, without a path.
        places: where to look, by what is there.
        has_chat: whether the models have a chat template.
        needs_key: whether a request needs an API key.
    """

    version: str
    url: str
    tiers: Sequence[TierSummary]
    places: Mapping[str, str]
    has_chat: bool
    needs_key: bool


def ready_block(server: ServerSummary) -> str:
    """The block, several lines, without a line end."""
    heading = ("tier", "model", "workers", "devices", "weights", "KV cache", "accepts", "judge")
    lines = [
        f"Cascadia {server.version} is ready on {server.url}",
        *_table([heading, *map(_row, server.tiers)]),
        *_table(list(server.places.items())),
        "  try it:",
        example_request(server),
    ]
    return "\n".join(lines)


def example_request(server: ServerSummary) -> str:
    """A command that asks the cascade a question."""
    question = "What is 17 + 25?"
    headers = ["content-type: application/json"]
    if server.needs_key:
        headers.append("authorization: Bearer YOUR-API-KEY")
    body: dict[str, object] = {"model": "cascadia", "max_tokens": 64}
    if server.has_chat:
        path, body["messages"] = "/v1/chat/completions", [{"role": "user", "content": question}]
    else:
        path, body["prompt"] = "/v1/completions", question
    parts = ["curl", "-s", server.url + path]
    for header in headers:
        parts += ["-H", header]
    return shlex.join([*parts, "-d", json.dumps(body)])


def _row(tier: TierSummary) -> tuple[str, ...]:
    devices = "CPU" if not tier.devices else ",".join(map(str, tier.devices))
    tokens = f"{tier.kv_tokens:,} tokens"
    cache = tokens if tier.kv_bytes is None else f"{shown_bytes(tier.kv_bytes)}, {tokens}"
    weights = "unknown" if tier.weights_bytes is None else shown_bytes(tier.weights_bytes)
    return (
        tier.name,
        tier.model,
        str(tier.workers),
        devices,
        weights,
        cache,
        tier.accepts,
        tier.judge.value,
    )


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows of equal length as lines of aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
