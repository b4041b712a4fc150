"""The rule that turns a score and a threshold into a decision.

The router asks it about live answers. The calibration, the planner and the controller ask it about
recorded ones.
"""

from typing import Any, overload

import numpy as np

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
    return np.searchsorted(grid, score_N, side="right")
