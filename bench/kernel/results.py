"""The rows of the kernel bench, and their file."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A variant in a case; the order of the fields is that of the columns.

    Attributes:
        device_us_p50: of one step under graph replay, as `device_us_p20` and `device_us_p80`.
        host_us_p50: to launch one step eagerly.
        gb_per_s: bytes of the logits over the device time.
        read_only_share: the read-only sum's device time over this one's.
        times_ours: this device time over that of the judge's kernels.
    """

    variant: str
    rows: int
    columns: int
    dtype: str
    tempered: bool
    device_us_p50: float
    device_us_p20: float
    device_us_p80: float
    host_us_p50: float
    gb_per_s: float
    read_only_share: float
    times_ours: float
    steps: int
    repetitions: int
    device: str
    torch: str
    triton: str
    cuda: str
    commit: str
    date_utc: str
    command: str


def save(path: Path, results: Iterable[Result]) -> None:
    """Write results; a row that the file has of the same device, variant and case is replaced."""
    rows = [dataclasses.asdict(result) for result in results]
    replaced = {_key(row) for row in rows}
    if path.exists():
        with path.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if _key(row) not in replaced] + rows
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        columns = [field.name for field in dataclasses.fields(Result)]
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    """What a row is of."""
    names = ("device", "variant", "rows", "columns", "dtype", "tempered")
    return tuple(str(row[name]) for name in names)
