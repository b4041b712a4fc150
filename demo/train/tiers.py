"""What each tier is and how it is trained, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from demo.train.model import Shape


@dataclass(frozen=True, slots=True)
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
    """A model of the demo: its shape, seed and the stages it is trained in.

    `trunk` names a tier of the same shape and a number of its stages: this one goes on from what
    that one was after them, rather than from scratch.
    """

    name: str
    shape: Shape
    seed: int
    stages: tuple[Stage, ...]
    trunk: tuple[str, int] | None = None


_SHAPE = Shape(hidden=128, heads=4, kv_heads=2, head_dim=32, intermediate=256)

# `get` does not emerge from many pairs at once: it starts with few, asked again and again.
_SHORT = {"add": 2, "mul": 2, "rev": 5, "sort": 5, "count": 6, "steps": 3, "get": 3, "recall": 3}
# What is learned late, when lookups and strings are long there.
_HARD = {
    "add": 3.0,
    "mul": 2.0,
    "rev": 0.6,
    "sort": 0.5,
    "count": 2.0,
    "steps": 0.6,
    "get": 0.25,
    "recall": 0.1,
}
_MEDIUM = {"get": 8, "recall": 8}
_START = {"recall": 2.0}

# The long prompts of `get` and `recall` together are drawn as often as one other family; the
# families that need the most examples get more of the mix.
_MIX = {"add": 2.0, "rev": 0.6, "sort": 0.6, "count": 1.2, "get": 0.5, "recall": 0.5}


TIERS = {
    tier.name: tier
    for tier in (
        Tier(
            name="small",
            shape=_SHAPE,
            seed=1,
            stages=(
                Stage(2, 30_000, 4e-3, 4e-3, _START, _SHORT),
                Stage(2, 60_000, 4e-3, 4e-3, _MIX, _MEDIUM),
                Stage(2, 150_000, 4e-3, 0.0, _MIX),
            ),
        ),
        Tier(
            name="middle",
            shape=_SHAPE,
            seed=2,
            stages=(
                Stage(3, 40_000, 4e-3, 4e-3, _START, _SHORT),
                Stage(3, 80_000, 4e-3, 4e-3, _MIX, _MEDIUM),
                Stage(3, 160_000, 4e-3, 4e-3, _HARD),
                Stage(6, 160_000, 3e-3, 3e-3, _HARD),
                Stage(6, 40_000, 3e-3, 0.0, _HARD),
            ),
        ),
        Tier(
            name="large",
            shape=_SHAPE,
            seed=3,
            trunk=("middle", 4),
            stages=(
                Stage(6, 80_000, 3e-3, 2e-3, _HARD),
                Stage(24, 40_000, 2e-3, 0.0, _HARD),
            ),
        ),
    )
}
