"""Surfaces on disk, each under a key of all that it follows from.

A file holds a few numbers. What cannot be read or written is built anew, without a word. The files
that no plan has read for the longest time are dropped beyond `MOST_FILES`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

import msgspec
import numpy as np

from cascadia_sglang.planner.latency.surfaces import GRID, ParallelShape, Surface
from cascadia_sglang.planner.simulation.code_stamp import STAMP, cache_folder
from cascadia_sglang.planner.workload.workload import Workload

# What makes a surface of a simulation, beside the compiled code.
SOURCES = (
    "latency/build_surfaces.py",
    "latency/surfaces.py",
    "simulation/initial_state.py",
    "simulation/paths.py",
    "simulation/result.py",
    "simulation/run_limit.py",
    "simulation/simulator.py",
    "simulation/tiers.py",
    "speed/profile.py",
    "workload/workload.py",
)
# A large plan has some hundred surfaces; a file takes a block of the disk, 4 kB.
MOST_FILES = 10_000


class SurfaceNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """What a surface holds beside its shape."""

    saturation_per_s: float
    rates_per_s_G: list[float]
    p95_s_G: list[float]
    mean_s_G: list[float]

    def surface(self, shape: ParallelShape) -> Surface:
        """The surface of a shape."""
        return Surface(
            shape=shape,
            saturation_per_s=self.saturation_per_s,
            rates_per_s_G=np.array(self.rates_per_s_G),
            p95_s_G=np.array(self.p95_s_G),
            mean_s_G=np.array(self.mean_s_G),
        )


def surface_key(workload: Workload, shape: ParallelShape, lengths: tuple[object, ...]) -> str:
    """Equal for equal surfaces: a digest of requests, step times, limits and the simulator.

    Args:
        lengths: of what the tier reads and writes.
    """
    digest = hashlib.sha256(_code_stamp().encode())
    for column in (
        workload.arrival_s_R,
        workload.input_tokens_R,
        workload.output_tokens_R,
        workload.block_starts_R,
        workload.blocks_P,
    ):
        digest.update(np.ascontiguousarray(column).tobytes())
    settings = (workload.block_tokens, shape.times, shape.limits, shape.tp, shape.pp, lengths, GRID)
    digest.update(msgspec.json.encode(settings))
    return digest.hexdigest()


def read_numbers(key: str) -> SurfaceNumbers | None:
    """The numbers under a key; None where there are none that can be read."""
    folder = _folder()
    if folder is None:
        return None
    path = folder / key
    try:
        numbers = msgspec.msgpack.decode(path.read_bytes(), type=SurfaceNumbers)
    except (OSError, msgspec.DecodeError):
        return None
    # Files are dropped by their last use. Who may not write here drops none either.
    with contextlib.suppress(OSError):
        os.utime(path)
    return numbers


def keep_numbers(key: str, surface: Surface) -> None:
    """Write a surface's numbers under a key, whole or not at all."""
    folder = _folder()
    if folder is None:
        return
    numbers = SurfaceNumbers(
        saturation_per_s=surface.saturation_per_s,
        rates_per_s_G=surface.rates_per_s_G.tolist(),
        p95_s_G=surface.p95_s_G.tolist(),
        mean_s_G=surface.mean_s_G.tolist(),
    )
    try:
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            written = Path(file.name)
            try:
                file.write(msgspec.msgpack.encode(numbers))
                file.flush()
                written.replace(folder / key)
            except OSError:
                written.unlink()
                raise
    except OSError:
        # The next plan builds it anew.
        return


def drop_oldest(most: int = MOST_FILES) -> None:
    """Drop the files beyond a number, those first that no plan has read for the longest time."""
    folder = _folder()
    if folder is None:
        return
    try:
        files = [entry for entry in os.scandir(folder) if entry.is_file()]
        files.sort(key=lambda entry: entry.stat().st_mtime, reverse=True)
        for entry in files[most:]:
            os.unlink(entry.path)
    except OSError:
        # Another process drops them, or somebody else's files lie here.
        return


def _code_stamp() -> str:
    digest = hashlib.sha256(STAMP.encode())
    for name in SOURCES:
        digest.update((Path(__file__).parent.parent / name).read_bytes())
    return digest.hexdigest()


def _folder() -> Path | None:
    return cache_folder("surfaces")
