"""Rows of a trace as requests: CSV by the names of its columns, and Mooncake's JSON lines."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from cascadia_sglang.errors import WorkloadError
from cascadia_sglang.planner.workload.workload import MOST_TOKENS

Number = int | float


class TraceRequest(NamedTuple):
    """One request of a trace; `hash_ids` are those of its prefix blocks, empty for none known."""

    arrival_s: float
    input_tokens: int
    output_tokens: int
    hash_ids: Sequence[Hashable] = ()


class UnusableError(Exception):
    """A row that lacks what a request needs; the text says what."""


@dataclass(slots=True)
class SkippedRows:
    """Requests of a trace that cannot be used: how many for each reason, and the first line."""

    counts: dict[str, int] = field(default_factory=dict)
    first_lines: dict[str, int] = field(default_factory=dict)

    def add(self, reason: str, line: int) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1
        self.first_lines.setdefault(reason, line)

    def __str__(self) -> str:
        """One line; empty where nothing was left out."""
        counts = [
            f"{count} {reason} (first: line {self.first_lines[reason]})"
            for reason, count in self.counts.items()
        ]
        return f"left out {', '.join(counts)}" if counts else ""


def bad_row(line: int, text: str, error: Exception) -> WorkloadError:
    """The error of a row that says something impossible."""
    return WorkloadError(f"line {line} {text.strip()[:80]!r}: {' '.join(str(error).split())}")


def tokens_of(value: str | Number | None, name: str) -> int:
    """A length in tokens.

    Raises:
        UnusableError: if it is missing or 0, as of a request that failed.
        ValueError: if it is no whole number from 1 to `MOST_TOKENS`.
    """
    if value is None or value == "":
        raise UnusableError(f"without {name}")
    try:
        number: Number = int(value) if isinstance(value, str) else value
    except ValueError:
        number = float(value)
    if number == 0:
        raise UnusableError(f"with 0 {name}")
    if not 1 <= number <= MOST_TOKENS or number != int(number):
        raise ValueError(f"{name} is {value}, allowed: whole numbers to {MOST_TOKENS}")
    return int(number)


def seconds_of(value: str | Number | None, name: str) -> float:
    """A finite number of seconds.

    Raises:
        UnusableError: if it is missing.
        ValueError: if it is no finite number.
    """
    if value is None or value == "":
        raise UnusableError(f"without {name}")
    seconds = float(value)
    if not math.isfinite(seconds):
        raise ValueError(f"{name} is {value}, allowed: finite numbers")
    return seconds


def date_s(value: str | None, name: str) -> float:
    """Seconds since 1970 of an ISO 8601 date and time; without a timezone it is in UTC.

    Raises:
        UnusableError: if it is missing.
        ValueError: if it is no date.
    """
    if not value:
        raise UnusableError(f"without {name}")
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        raise ValueError(f"{name} is {value!r}, allowed: dates and times of ISO 8601") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvFormat:
    """Columns of a CSV trace, by their names in lower case.

    Attributes:
        seconds: of the time column's text.
        hash_ids: the column of block ids, separated by spaces; None where there is none.
        others: columns that are allowed and not read.
    """

    time: str
    inputs: str
    outputs: str
    seconds: Callable[[str, str], float]
    hash_ids: str | None = None
    others: frozenset[str] = frozenset()

    def fits(self, header: Sequence[str]) -> bool:
        """Whether a file of these columns, in lower case, has this format."""
        needed = {self.time, self.inputs, self.outputs}
        allowed = needed | self.others | ({self.hash_ids} if self.hash_ids else set())
        return needed <= set(header) <= allowed and len(set(header)) == len(header)


CSV_FORMATS = (
    CsvFormat(
        time="timestamp",
        inputs="input_tokens",
        outputs="output_tokens",
        seconds=seconds_of,
        hash_ids="hash_ids",
    ),
    CsvFormat(time="timestamp", inputs="contexttokens", outputs="generatedtokens", seconds=date_s),
    CsvFormat(
        time="timestamp",
        inputs="request tokens",
        outputs="response tokens",
        seconds=seconds_of,
        others=frozenset(("session id", "elapsed time", "model", "total tokens", "log type")),
    ),
)


def csv_format(line: str) -> CsvFormat | None:
    """The format of a file with this first line; None where it is not known."""
    header = _lowered(next(csv.reader([line]), []))
    return next((layout for layout in CSV_FORMATS if layout.fits(header)), None)


def _lowered(columns: Sequence[str]) -> list[str]:
    return [column.strip().lower() for column in columns]


def csv_requests(
    lines: Iterable[str], layout: CsvFormat, left_out: SkippedRows
) -> Iterator[TraceRequest]:
    """The requests of a CSV file, its header included.

    Raises:
        WorkloadError: names the line that says something impossible.
    """
    reader = csv.reader(lines)
    names = [column.strip() for column in next(reader)]
    header = _lowered(names)
    time, inputs, outputs = (
        header.index(name) for name in (layout.time, layout.inputs, layout.outputs)
    )
    ids = header.index(layout.hash_ids) if layout.hash_ids in header else None
    seconds = layout.seconds
    row: list[str] = []
    try:
        for row in reader:
            if len(row) != len(header):
                if not any(part.strip() for part in row):
                    continue
                # Of a row whose last column is empty, some writers leave out the comma too.
                if len(row) != len(header) - 1 or ids != len(row):
                    raise ValueError(f"{len(row)} columns, needed: {len(header)}")
            try:
                yield TraceRequest(
                    seconds(row[time], names[time]),
                    tokens_of(row[inputs], names[inputs]),
                    tokens_of(row[outputs], names[outputs]),
                    ()
                    if ids is None
                    else [int(part) for part in "".join(row[ids : ids + 1]).split()],
                )
            except UnusableError as error:
                left_out.add(str(error), reader.line_num)
    except (ValueError, csv.Error) as error:
        raise bad_row(reader.line_num, ",".join(row), error) from error


class MooncakeRow(msgspec.Struct):
    """A line of Mooncake's format; all may be missing, and more may be there."""

    timestamp: float | None = None
    input_length: Number | None = None
    output_length: Number | None = None
    hash_ids: list[int | str] | None = None


def mooncake_requests(lines: Iterable[str], left_out: SkippedRows) -> Iterator[TraceRequest]:
    """The requests of JSON lines, times in milliseconds.

    Raises:
        WorkloadError: names the line that says something impossible.
    """
    decoder = msgspec.json.Decoder(MooncakeRow)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = decoder.decode(line)
            yield TraceRequest(
                seconds_of(row.timestamp, "timestamp") / 1000.0,
                tokens_of(row.input_length, "input_length"),
                tokens_of(row.output_length, "output_length"),
                row.hash_ids or (),
            )
        except UnusableError as error:
            left_out.add(str(error), number)
        except ValueError as error:
            raise bad_row(number, line, error) from error


def json_keys(line: str) -> set[str]:
    """The keys of a JSON object; none where the line is no whole object."""
    try:
        data = json.loads(line)
    except ValueError:
        return set()
    return set(data) if isinstance(data, dict) else set()
