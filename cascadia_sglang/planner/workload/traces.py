"""Traces of requests, in the formats in which they are published.

- The project's own CSV: `timestamp,input_tokens,output_tokens[,hash_ids]`, seconds, ids separated
  by spaces.
- Azure's LLM inference traces of 2023 and 2024: `TIMESTAMP,ContextTokens,GeneratedTokens`, date and
  time, with or without fraction and timezone.
- BurstGPT: `Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type`, in its second
  version also `Session ID` and `Elapsed time`; seconds.
- Mooncake's traces (FAST 2025): JSON lines of `timestamp` in milliseconds, `input_length`,
  `output_length` and `hash_ids` of blocks of 512 tokens.
- Azure's traces of coding agents of 2026: JSON lines of sessions, see `trace_sessions`.

A file may be compressed with gzip. It is read as a stream. Requests that lack a time or a length,
or have a length of 0, as failed ones have, are left out, and a warning says how many.
"""

from __future__ import annotations

import gzip
import heapq
import io
import itertools
import logging
import zlib
from array import array
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import TextIO

import numpy as np

from cascadia_sglang.errors import WorkloadError
from cascadia_sglang.planner.workload.trace_rows import (
    SkippedRows,
    TraceRequest,
    csv_format,
    csv_requests,
    json_keys,
    mooncake_requests,
)
from cascadia_sglang.planner.workload.trace_sessions import session_requests
from cascadia_sglang.planner.workload.workload import (
    MOONCAKE_BLOCK_TOKENS,
    Workload,
    workload_of_blocks,
)

_KNOWN = (
    "timestamp,input_tokens,output_tokens[,hash_ids]; "
    "TIMESTAMP,ContextTokens,GeneratedTokens; "
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type; "
    "JSON lines with input_length; JSON lines with turns"
)
# A longer line is no trace's, and must not fill the memory.
MOST_LINE_CHARACTERS = 64 * 2**20

_log = logging.getLogger(__name__)


def load_trace(
    path: Path,
    block_tokens: int = MOONCAKE_BLOCK_TOKENS,
    *,
    requests: int | None = None,
    skip: int = 0,
) -> Workload:
    """Read a trace; its format is told from its first line.

    Args:
        block_tokens: of a prefix block of `hash_ids`.
        requests: that count, at most; None for all. Rows of a trace are taken in the order of the
            file, which is that of arrival in all published ones, and no row after these is read.
            Sessions overlap: of them the first to arrive are taken, and the whole file is read.
        skip: usable requests before those.

    Raises:
        WorkloadError: if the file is missing, of no known format, or says nothing; one line that
            names the file and the place.
    """
    left_out = SkippedRows()
    try:
        with path.open("rb") as raw, _text(raw) as file:
            columns = _Columns()
            for request in _chosen(_lines(file), left_out, block_tokens, requests, skip):
                columns.add(request)
        workload = columns.workload(block_tokens)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise WorkloadError(f"trace {path}: the gzip file is broken: {error}") from error
    except OSError as error:
        raise WorkloadError(f"trace {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise WorkloadError(f"trace {path}: no UTF-8 text") from error
    except WorkloadError as error:
        skipped = f"; {left_out}" if left_out.counts else ""
        raise WorkloadError(f"trace {path}: {error}{skipped}") from error
    if left_out.counts:
        _log.warning("trace %s: %s", path, left_out)
    return workload


def _text(raw: io.BufferedReader) -> TextIO:
    is_compressed = raw.peek(2)[:2] == b"\x1f\x8b"
    data = gzip.GzipFile(fileobj=raw) if is_compressed else raw
    return io.TextIOWrapper(data, encoding="utf-8-sig", newline="")


def _lines(file: TextIO) -> Iterator[str]:
    number = 1
    while line := file.readline(MOST_LINE_CHARACTERS):
        if len(line) == MOST_LINE_CHARACTERS:
            raise WorkloadError(f"line {number} has {MOST_LINE_CHARACTERS} characters or more")
        yield line
        number += 1


def _chosen(
    lines: Iterator[str],
    left_out: SkippedRows,
    block_tokens: int,
    requests: int | None,
    skip: int,
) -> Iterable[TraceRequest]:
    first = next(lines, "")
    every = itertools.chain([first], lines)
    last = None if requests is None else skip + requests
    if not first.lstrip().startswith("{"):
        layout = csv_format(first)
        if layout is None:
            raise WorkloadError(f"line 1 is {first.strip()[:80]!r}, known: {_KNOWN}")
        return itertools.islice(csv_requests(every, layout, left_out), skip, last)
    if "turns" not in json_keys(first):
        return itertools.islice(mooncake_requests(every, left_out), skip, last)
    calls = session_requests(every, left_out, block_tokens)

    def arrival_s(request: TraceRequest) -> float:
        return request.arrival_s

    if last is None:
        return sorted(calls, key=arrival_s)[skip:]
    return heapq.nsmallest(last, calls, key=arrival_s)[skip:]


class _Columns:
    """Requests as columns of numbers, which take a tenth of their memory as objects."""

    def __init__(self) -> None:
        self._arrival_s = array("d")
        self._inputs = array("q")
        self._outputs = array("q")
        self._blocks_of_each = array("q")
        self._blocks = array("q")
        self._numbers: dict[Hashable, int] = {}

    def add(self, request: TraceRequest) -> None:
        self._arrival_s.append(request.arrival_s)
        self._inputs.append(request.input_tokens)
        self._outputs.append(request.output_tokens)
        self._blocks_of_each.append(len(request.hash_ids))
        numbers = self._numbers
        # Ids may be wider than an integer of NumPy, or no integers at all.
        for block in request.hash_ids:
            self._blocks.append(numbers.setdefault(block, len(numbers)))

    def workload(self, block_tokens: int) -> Workload:
        return workload_of_blocks(
            np.asarray(self._arrival_s),
            np.asarray(self._inputs),
            np.asarray(self._outputs),
            np.asarray(self._blocks_of_each),
            np.asarray(self._blocks),
            block_tokens,
        )
