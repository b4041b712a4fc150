"""How fast a cascade of these tiers would be if its judge were never wrong.

A perfect judge accepts the first right answer, so a question reaches a tier where all smaller ones
are wrong, whatever the last one then says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """Requests per second under a perfect judge.

    Attributes:
        reach: share of the questions that each tier sees, smallest first.
        in_turn_per_s: where the tiers take turns on the machine, as each was measured alone.
        side_by_side_per_s: where they do not disturb one another at all: the busiest tier's bound.
        accuracy: share of the questions that some tier answers right.
    """

    reach: list[float]
    in_turn_per_s: float
    side_by_side_per_s: float
    accuracy: float


def ceiling(right: Sequence[Sequence[bool]], requests_per_s: Sequence[float]) -> Ceiling:
    """The ceiling of tiers, smallest first.

    Args:
        right: of each tier, whether it answers each question right; all of one length.
        requests_per_s: of each tier alone on the machine.
    """
    right_TN: npt.NDArray[np.bool_] = np.array(right, dtype=bool)
    unsolved_N = np.ones(right_TN.shape[1], dtype=bool)
    reach = []
    for right_N in right_TN:
        reach.append(float(unsolved_N.mean()))
        unsolved_N &= ~right_N
    seconds = [share / rate for share, rate in zip(reach, requests_per_s, strict=True)]
    return Ceiling(
        reach=reach,
        in_turn_per_s=1 / sum(seconds),
        side_by_side_per_s=1 / max(seconds),
        accuracy=float(right_TN.any(0).mean()),
    )
