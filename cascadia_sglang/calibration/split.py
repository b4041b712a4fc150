"""Divides a sample in three parts: fit the models, choose the thresholds, certify the result.

A prompt's part follows from its id alone (BLAKE2b of it, modulo 3), so a prompt that is added or
removed moves no other, and a sample that is recorded again is divided as before.
"""

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from cascadia_sglang.calibration.pool import Pool

PARTS = ("fit", "choose", "certify")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The three parts of a sample; no prompt is in two."""

    fit: Pool
    choose: Pool
    certify: Pool


def part_of(prompt_id: str) -> str:
    """The part that a prompt of this id belongs to."""
    digest = blake2b(prompt_id.encode(), digest_size=8).digest()
    return PARTS[int.from_bytes(digest, "big") % len(PARTS)]


def split_sample(pool: Pool) -> Parts:
    """The three parts, each in the order of the sample."""
    parts = np.array([part_of(prompt_id) for prompt_id in pool.ids])
    return Parts(**{part: pool.take(np.flatnonzero(parts == part)) for part in PARTS})
