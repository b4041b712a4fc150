"""Divides a sample in three parts: fit the models, choose the thresholds, certify the result.

A prompt's part follows from the prompt alone (BLAKE2b of its key, modulo 3). So equal prompts stay
in one part under whatever ids, a prompt that is added or removed moves no other, and a sample that
is recorded again is divided as before.
"""

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from cascadia_sglang.calibration.record.pool import Pool

PARTS = ("fit", "choose", "certify")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The three parts of a sample; no prompt is in two."""

    fit: Pool
    choose: Pool
    certify: Pool


def part_of(prompt_key: str) -> str:
    """The part that a prompt of this key belongs to."""
    digest = blake2b(prompt_key.encode(), digest_size=8).digest()
    return PARTS[int.from_bytes(digest, "big") % len(PARTS)]


def parts_of(pool: Pool) -> npt.NDArray[np.str_]:
    """The part of every prompt, [N]."""
    return np.array([part_of(key) for key in pool.prompt_keys], dtype=np.str_)


def split_sample(pool: Pool) -> Parts:
    """The three parts, each in the order of the sample."""
    parts_N = parts_of(pool)
    return Parts(**{part: pool.take(np.flatnonzero(parts_N == part)) for part in PARTS})
