"""Draws rows of one split: a hash of the prompt decides its split, so splits share no prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from random import Random

from demo.tasks.families import FAMILIES, TEST_FAMILIES, Family, Row, make_row

SPLITS = ("train", "calibration", "test")
_BUCKETS = 16


def split_of(prompt: str) -> str:
    """The split a prompt belongs to: 1/16 of all prompts test, 1/16 calibration, the rest train."""
    bucket = blake2b(prompt.encode(), digest_size=1).digest()[0] % _BUCKETS
    return {0: "test", 1: "calibration"}.get(bucket, "train")


def sample(
    split: str,
    seed: int,
    n: int,
    families: Sequence[str] = TEST_FAMILIES,
    *,
    weights: Mapping[str, float] | None = None,
    max_sizes: Mapping[str, int] | None = None,
) -> list[Row]:
    """Draw n rows of a split; the same arguments always give the same rows.

    Args:
        split: one of `SPLITS`.
        seed: any integer; different seeds of one split may repeat a prompt, splits never share one.
        n: rows to draw, repeats possible.
        families: names to draw from.
        weights: relative weight per family, 1 where absent.
        max_sizes: a smaller upper size per family, for curricula.

    Raises:
        ValueError: if the split is unknown.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}, choose from {SPLITS}")
    rng = Random(f"{split}:{seed}")
    chosen = rng.choices(
        [FAMILIES[name] for name in families],
        [(weights or {}).get(name, 1.0) for name in families],
        k=n,
    )
    return [_draw(rng, family, split, (max_sizes or {}).get(family.name)) for family in chosen]


def _draw(rng: Random, family: Family, split: str, max_size: int | None) -> Row:
    """Draw the size first and keep it, so that the split does not bend the sizes' distribution."""
    high = family.high if max_size is None else max_size
    sizes = tuple(rng.randint(family.low, high) for _ in range(family.sizes_drawn))
    while True:
        row = make_row(family, rng, sizes)
        if split_of(row.prompt) == split:
            return row
