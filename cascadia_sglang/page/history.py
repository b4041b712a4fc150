"""Numbered rows in memory, encoded once and given out by number; the oldest go first."""

from collections import deque
from typing import Any

import msgspec


class EncodedRows:
    """The last rows as JSON. A reader asks for those after the last number that it has.

    Args:
        most: rows that are kept.
    """

    def __init__(self, most: int) -> None:
        self._rows: deque[bytes] = deque(maxlen=most)
        self._number = 0

    @property
    def number(self) -> int:
        """Of the newest row; 0 before the first."""
        return self._number

    def add(self, row: dict[str, Any]) -> None:
        """Add a row; it gets the next number as `number`."""
        self._number += 1
        self._rows.append(msgspec.json.encode({"number": self._number, **row}))

    def after(self, number: int) -> list[msgspec.Raw]:
        """The rows of later numbers, the oldest first; all kept ones where some are missing.

        A number that is higher than the newest is of another run of the server: all rows.
        """
        missing = self._number - number
        count = len(self._rows)
        returned_rows = count if not 0 <= missing <= count else missing
        return [msgspec.Raw(self._rows[index]) for index in range(count - returned_rows, count)]
