"""What each tier is and how it is trained, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.ladder.model import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stretch of training at one depth; the learning rate goes linearly from start to end."""

    layers: int
    examples: int
    lr_start: float
    lr_end: float
    weights: Mapping[str, float] = field(default_factory=dict)
    max_sizes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A model of the ladder: its shape, seed and the stages it is trained in."""

    name: str
    shape: Shape
    seed: int
    stages: tuple[Stage, ...]


_SHORT = {"add": 2, "mul": 2, "rev": 5, "sort": 5, "count": 6}
# The families that need the most examples get more of the mix.
_HARD_FIRST = {"add": 2.0, "mul": 1.5, "rev": 0.7}

TIERS = {
    tier.name: tier
    for tier in (
        Tier(
            name="small",
            shape=Shape(hidden=64, heads=4, kv_heads=2, head_dim=64, intermediate=192),
            seed=1,
            stages=(
                Stage(layers=2, examples=100_000, lr_start=5e-3, lr_end=5e-3, max_sizes=_SHORT),
                Stage(layers=2, examples=250_000, lr_start=5e-3, lr_end=0.0),
            ),
        ),
        Tier(
            name="large",
            shape=Shape(hidden=128, heads=4, kv_heads=2, head_dim=64, intermediate=256),
            seed=2,
            stages=(
                Stage(layers=4, examples=80_000, lr_start=5e-3, lr_end=5e-3, max_sizes=_SHORT),
                Stage(layers=4, examples=800_000, lr_start=5e-3, lr_end=5e-3, weights=_HARD_FIRST),
                Stage(
                    layers=12, examples=288_000, lr_start=3e-3, lr_end=1.08e-3, weights=_HARD_FIRST
                ),
                Stage(layers=12, examples=75_000, lr_start=1e-3, lr_end=0.0, weights=_HARD_FIRST),
            ),
        ),
    )
}
