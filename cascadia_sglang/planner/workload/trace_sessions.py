"""Sessions of coding agents as requests: Azure's traces of GitHub Copilot of 2026.

A line is one session as a JSON object: `turns` of a user, each with `llm_calls`. Of a call its
`timestamp`, `model` and `tokens` (`prompt`, `completion`, `cached`) count; tools run between calls
and are in the calls' times.

The format has no block ids. It says how many of a prompt's tokens were `cached`: so many are taken
for the beginning that the call shares with the call before, of the same session and model. What the
first such call of a session finds cached is taken for a beginning that all sessions of the model
share.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import msgspec

from cascadia_sglang.planner.workload.trace_rows import (
    Number,
    SkippedRows,
    TraceRequest,
    UnusableError,
    bad_row,
    date_s,
    tokens_of,
)


class _Tokens(msgspec.Struct):
    prompt: Number | None = None
    completion: Number | None = None
    cached: Number | None = None


class _Call(msgspec.Struct):
    timestamp: str | None = None
    model: str | None = None
    tokens: _Tokens | None = None


class _Turn(msgspec.Struct):
    llm_calls: list[_Call] | None = None


class _Session(msgspec.Struct):
    turns: list[_Turn] | None = None


def session_requests(
    lines: Iterable[str], left_out: SkippedRows, block_tokens: int
) -> Iterator[TraceRequest]:
    """The calls of all sessions, session by session; so they are not in the order of arrival.

    Raises:
        WorkloadError: names the line that says something impossible.
    """
    decoder = msgspec.json.Decoder(_Session)
    blocks = _Blocks(block_tokens)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield from _calls(decoder.decode(line), number, left_out, blocks)
        except ValueError as error:
            raise bad_row(number, line, error) from error


def _calls(
    session: _Session, line: int, left_out: SkippedRows, blocks: _Blocks
) -> list[TraceRequest]:
    calls: list[tuple[TraceRequest, str, int]] = []
    for turn_number, turn in enumerate(session.turns or []):
        for call_number, call in enumerate(turn.llm_calls or []):
            tokens = call.tokens or _Tokens()
            try:
                request = TraceRequest(
                    date_s(call.timestamp, "timestamp"),
                    tokens_of(tokens.prompt, "prompt tokens"),
                    tokens_of(tokens.completion, "completion tokens"),
                )
                cached = tokens_of(tokens.cached, "cached tokens") if tokens.cached else 0
            except UnusableError as error:
                left_out.add(str(error), line)
            except ValueError as error:
                path = f"turns[{turn_number}].llm_calls[{call_number}]"
                raise ValueError(f"{path}: {error}") from error
            else:
                calls.append((request, call.model or "", cached))
    calls.sort(key=lambda call: call[0].arrival_s)
    chains: dict[str, list[int]] = {}
    return [
        request._replace(hash_ids=blocks.next_of(chains, model, request.input_tokens, cached))
        for request, model, cached in calls
    ]


class _Blocks:
    """Numbers the prefix blocks of a file's sessions."""

    def __init__(self, block_tokens: int) -> None:
        self._block_tokens = block_tokens
        self._numbers = itertools.count()
        self._shared: dict[str, list[int]] = {}  # beginnings of all sessions of a model

    def next_of(
        self, chains: dict[str, list[int]], model: str, prompt: int, cached: int
    ) -> list[int]:
        """Blocks of a call's prompt.

        Args:
            chains: blocks of the session's last prompt to each model, which this one replaces.
        """
        cached_blocks = min(cached, prompt) // self._block_tokens
        before = chains.get(model)
        if before is None:
            before = self._shared.setdefault(model, [])
            before += self._new(cached_blocks - len(before))
        shared = before[:cached_blocks]
        chains[model] = shared + self._new(prompt // self._block_tokens - len(shared))
        return chains[model]

    def _new(self, count: int) -> list[int]:
        return list(itertools.islice(self._numbers, max(0, count)))
