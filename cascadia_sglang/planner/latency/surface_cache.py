"""Surfaces on disk, each under a key of all that it follows from.

A file holds a few numbers. What cannot be read or written is built anew, without a word.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import msgspec
import numpy as np

from cascadia_sglang.planner.latency.surfaces import GRID, ParallelShape, Surface
from cascadia_sglang.planner.simulation.numba_cache import STAMP, cache_folder
from cascadia_sglang.planner.workload.workload import Workload

# What makes a surface of a simulation, beside the compiled code.
_SOURCES = ("latency/surfaces.py", "simulation/paths.py", "simulation/simulator.py")


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


def surface_key(workload: Workload, shape: ParallelShape, answers: tuple[object, ...]) -> str:
    """Equal for equal surfaces: a digest of requests, step times, limits and the simulator.

    Args:
        answers: what the tier writes.
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
    told = (workload.block_tokens, shape.times, shape.limits, shape.tp, shape.pp, answers, GRID)
    digest.update(msgspec.json.encode(told))
    return digest.hexdigest()


def read_numbers(key: str) -> SurfaceNumbers | None:
    """The numbers under a key; None where there are none that can be read."""
    folder = _folder()
    if folder is None:
        return None
    try:
        return msgspec.msgpack.decode((folder / key).read_bytes(), type=SurfaceNumbers)
    except (OSError, msgspec.DecodeError):
        return None


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
        handle, name = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.msgpack.encode(numbers))
        Path(name).replace(folder / key)
    except OSError:
        # The next plan builds it anew.
        return


def _code_stamp() -> str:
    digest = hashlib.sha256(STAMP.encode())
    for name in _SOURCES:
        digest.update((Path(__file__).parent.parent / name).read_bytes())
    return digest.hexdigest()


def _folder() -> Path | None:
    return cache_folder("surfaces")
