"""How long a tier's forwards take on a device: what a profile file says."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from cascadia_sglang.struct_file import load_struct


class StepTimes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Measured durations of one tier's forwards on one whole device, in milliseconds.

    Both are lists of pairs, sizes rising: `decode_ms` by the rows of a batch, `prefill_ms` by its
    new tokens.
    """

    decode_ms: list[tuple[int, float]]
    prefill_ms: list[tuple[int, float]]

    def __post_init__(self) -> None:
        for name, pairs in (("decode_ms", self.decode_ms), ("prefill_ms", self.prefill_ms)):
            sizes = [size for size, _ in pairs]
            if not pairs or sizes != sorted(set(sizes)) or sizes[0] < 1:
                raise ValueError(f"{name} needs rising sizes of 1 or more, at least one")
            if any(not 0 < ms < float("inf") for _, ms in pairs):
                raise ValueError(f"{name} needs finite times above 0")

    def decode_s(self, rows: int) -> float:
        """Seconds of one decoding step of this many requests."""
        return _between(self.decode_ms, rows) / 1000

    def prefill_s(self, tokens: int) -> float:
        """Seconds of one prefill of this many new tokens."""
        return _between(self.prefill_ms, tokens) / 1000


def _between(pairs: Sequence[tuple[int, float]], size: int) -> float:
    """Linear between the measured sizes, level below them, in proportion to the last above."""
    sizes, times = zip(*pairs, strict=True)
    if size > sizes[-1]:
        return float(times[-1]) * size / float(sizes[-1])
    return float(np.interp(size, sizes, times))


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A profile file: step times by tier name, and the device they were measured on."""

    version: int
    device: str
    tiers: dict[str, StepTimes]

    def __post_init__(self) -> None:
        if self.version != 1:
            raise ValueError(f"version is {self.version}, allowed: 1")


def load_profile(path: Path) -> Profile:
    """Read a profile file.

    Raises:
        ConfigError: if the file is missing or does not fit; names the file and the place.
    """
    return load_struct(path, Profile, "profile")
