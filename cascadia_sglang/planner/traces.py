"""Traces of requests, in the formats in which they are published.

- The project's own CSV: `timestamp,input_tokens,output_tokens[,hash_ids]`, seconds, ids separated
  by spaces.
- Azure's LLM inference traces (Splitwise, ISCA 2024): `TIMESTAMP,ContextTokens,GeneratedTokens`,
  date and time.
- Mooncake's traces (FAST 2025): JSON lines of `timestamp` in milliseconds, `input_length`,
  `output_length` and `hash_ids` of blocks of 512 tokens.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from cascadia_sglang.errors import WorkloadError
from cascadia_sglang.planner.workload import MOONCAKE_BLOCK_TOKENS, Workload, build_workload


class _Request(NamedTuple):
    arrival_s: float
    input_tokens: float
    output_tokens: float
    hash_ids: list[int]


def load_trace(path: Path, block_tokens: int = MOONCAKE_BLOCK_TOKENS) -> Workload:
    """Read a trace; its format is told from its first line.

    Args:
        block_tokens: of a prefix block of `hash_ids`.

    Raises:
        WorkloadError: if the file is missing, of no known format, or says nothing; one line that
            names the file and the place.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            found = list(_read(lines, path))
    except OSError as error:
        raise WorkloadError(f"trace {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise WorkloadError(f"trace {path}: no UTF-8 text") from error
    try:
        return build_workload(
            [request.arrival_s for request in found],
            [request.input_tokens for request in found],
            [request.output_tokens for request in found],
            hash_ids=[request.hash_ids for request in found],
            block_tokens=block_tokens,
        )
    except WorkloadError as error:
        raise WorkloadError(f"trace {path}: {error}") from error


def _read(lines: Iterable[str], path: Path) -> Iterator[_Request]:
    numbered = enumerate(lines, start=1)
    first = next(numbered, (1, ""))[1].strip()
    if first.startswith("{"):
        read, rest = _mooncake, [(1, first), *numbered]
    else:
        columns = next(csv.reader([first]), [])
        lowered = [column.strip().lower() for column in columns]
        if lowered[:3] == ["timestamp", "input_tokens", "output_tokens"]:
            read = _own
        elif lowered == ["timestamp", "contexttokens", "generatedtokens"]:
            read = _azure
        else:
            raise WorkloadError(
                f"trace {path}: line 1 is {first[:80]!r}, known: "
                "timestamp,input_tokens,output_tokens[,hash_ids]; "
                "TIMESTAMP,ContextTokens,GeneratedTokens; JSON lines with input_length"
            )
        rest = list(numbered)
    for number, line in rest:
        if not line.strip():
            continue
        try:
            yield read(line)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise WorkloadError(
                f"trace {path}: line {number} {line.strip()[:80]!r}: {error}"
            ) from error


def _own(line: str) -> _Request:
    fields = next(csv.reader([line]))
    hash_ids = [int(part) for part in fields[3].split()] if len(fields) > 3 else []
    return _Request(float(fields[0]), float(fields[1]), float(fields[2]), hash_ids)


def _azure(line: str) -> _Request:
    moment, input_tokens, output_tokens = next(csv.reader([line]))
    # Seven digits of a second, one more than a datetime takes.
    whole, _, fraction = moment.strip().partition(".")
    seconds = datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")
    return _Request(seconds, float(input_tokens), float(output_tokens), [])


def _mooncake(line: str) -> _Request:
    data: dict[str, Any] = json.loads(line)
    return _Request(
        float(data["timestamp"]) / 1000.0,
        float(data["input_length"]),
        float(data["output_length"]),
        [int(block) for block in data.get("hash_ids", [])],
    )
