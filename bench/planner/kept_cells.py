"""Cells that a stopped run of the simulator's bench has measured, for the next to go on from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.planner.simulator_cell import Cell


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A cell and what it was measured with."""

    settings: str
    cell: Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCells:
    """A file a cell.

    Attributes:
        folder: where they are kept; None keeps nothing.
        settings: commit and numbers of runs; cells of others are measured again.
    """

    folder: Path | None
    settings: str

    def find(self, arm: str, load: float) -> Cell | None:
        """The cell of an arm at a load; None if it was not measured."""
        path = self._path(arm, load)
        if path is None or not path.exists():
            return None
        stored = msgspec.json.decode(path.read_bytes(), type=_Kept)
        return stored.cell if stored.settings == self.settings else None

    def keep(self, cell: Cell) -> None:
        """Leave a cell for the next run."""
        path = self._path(cell.arm, cell.load)
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(_Kept(settings=self.settings, cell=cell)))

    def _path(self, arm: str, load: float) -> Path | None:
        if self.folder is None:
            return None
        return self.folder / f"{arm.replace(', ', '-').replace(' ', '-')}-{100 * load:.0f}.json"
