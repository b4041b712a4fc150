"""The built-in rank of recorded answers, as a server without a calibration gives it."""

from __future__ import annotations

import numpy as np

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.judge.builtin_rank import rank_model


def ranks(features_NF: FloatArray) -> FloatArray:
    """Of the base features of N whole answers, [N]; NaN where a feature is not finite."""
    ranks_N: FloatArray = rank_model().scores(
        np.ascontiguousarray(features_NF), np.zeros(len(features_NF))
    )[:, 0]
    return ranks_N
