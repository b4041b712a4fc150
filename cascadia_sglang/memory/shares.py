"""How workers divide the memory that they share. Pure.

Each takes its model's weights and what its process needs besides. What is left of the memory goes
to the key-value pools, such that each has room for the same number of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cascadia_sglang.planner.speed.roofline import LEAST_KV_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What the workers of one pool need of a memory that they share with others.

    Attributes:
        name: of the pool.
        count: processes that share the memory, all ranks of all replicas.
        weights_bytes: of each.
        own_bytes: of each besides weights and key-value pool.
        kv_bytes: of a token's keys and values in each; None where the model's shape is not known.
    """

    name: str
    count: int
    weights_bytes: float
    own_bytes: float
    kv_bytes: float | None


def divided(needs: Sequence[Need], pools_bytes: float) -> list[float]:
    """Bytes for each process of every need, in their order.

    Where one model's shape is not known, key-value pools go by the weights in place of the tokens.

    Args:
        pools_bytes: for all key-value pools together.
    """
    kv_bytes = [need.kv_bytes for need in needs if need.kv_bytes]
    parts = kv_bytes if len(kv_bytes) == len(needs) else [need.weights_bytes for need in needs]
    total = sum(part * need.count for part, need in zip(parts, needs, strict=True))
    return [
        need.weights_bytes + need.own_bytes + (pools_bytes * part / total if total else 0.0)
        for part, need in zip(parts, needs, strict=True)
    ]


def least_bytes(need: Need) -> float:
    """What one process must have to be of any use."""
    return need.weights_bytes + need.own_bytes + LEAST_KV_TOKENS * (need.kv_bytes or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """A pool that finds too little.

    Attributes:
        wanted_bytes: that each of its processes must have.
        left_bytes: that the pools before it leave to all of them.
    """

    need: Need
    wanted_bytes: float
    left_bytes: float

    def __str__(self) -> str:
        lacks = self.need.count * self.wanted_bytes - self.left_bytes
        times = f"{self.need.count} x " if self.need.count > 1 else ""
        return (
            f"tier {self.need.name} lacks {lacks / 1e9:.1f} GB: it needs {times}"
            f"{self.wanted_bytes / 1e9:.1f} GB, {max(0.0, self.left_bytes) / 1e9:.1f} GB are left"
        )


def first_short(needs: Sequence[Need], total_bytes: float) -> Shortage | None:
    """The first need that finds too little."""
    left_bytes = total_bytes
    for need in needs:
        least = least_bytes(need)
        if need.count * least > left_bytes:
            return Shortage(need=need, wanted_bytes=least, left_bytes=left_bytes)
        left_bytes -= need.count * least
    return None
