"""The rule that turns a score and a threshold into a decision.

The router asks it about live answers. The calibration, the planner and the controller ask it about
recorded ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from cascadia_sglang.arrays import BoolArray, FloatArray, RowArray


@overload
def accepts(score: float, threshold: float) -> bool: ...
@overload
def accepts(score: FloatArray, threshold: float | FloatArray) -> BoolArray: ...
def accepts(score: Any, threshold: Any) -> Any:
    """Whether a score accepts its answer; element by element for arrays."""
    return score >= threshold


def accepting_thresholds(grid: FloatArray, score_N: FloatArray) -> RowArray:
    """How many of a grid's thresholds, which rise, accept each answer, [N]."""
    return grid.searchsorted(score_N, side="right")
