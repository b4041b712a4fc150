"""Statistics of a draft's tokens from the forward pass that read it.

Shape legend: n places of a draft, V vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.judge.host_step import (
    ENTROPY,
    LOGSUMEXP,
    MARGIN,
    SELF_CERTAINTY,
    host_statistics,
)
from cascadia_sglang.judge.state import NO_ROW, StateRow, StateTable, fold_step


@dataclass(frozen=True, slots=True)
class DraftStep:
    """Step values of a draft's tokens, [n, 5], float64, in the order of `STEP_VALUES`."""

    values_n5: FloatArray

    def fold_draft(self, table: StateTable, state: StateRow, token_ids: Sequence[int]) -> None:
        """Fold the first places, which hold these tokens, into a state, one after the other."""
        # One call: a draft of a thousand tokens would cost a thousand calls otherwise.
        places = np.arange(len(token_ids))
        states = np.full(len(token_ids), state.index)
        fold_step(table.states_NS, states, places, self.values_n5, NO_ROW)


def draft_values(
    logits_nV: npt.NDArray[np.float32], token_ids_n: npt.NDArray[np.int64]
) -> FloatArray:
    """Step values of a draft's tokens from logits in the host's memory, [n, 5], float64.

    A token outside the vocabulary has the log-probability NaN and is not known, as in
    `cascadia_kernels.verify_draft`.
    """
    statistics_n4 = host_statistics(logits_nV)
    rows, columns = logits_nV.shape
    is_known_n = (token_ids_n >= 0) & (token_ids_n < columns)
    logit_n = logits_nV[np.arange(rows), np.where(is_known_n, token_ids_n, 0)].astype(np.float64)
    logit_n[~is_known_n] = math.nan
    return np.stack(
        (
            logit_n - statistics_n4[:, LOGSUMEXP],
            statistics_n4[:, ENTROPY],
            statistics_n4[:, MARGIN],
            statistics_n4[:, SELF_CERTAINTY],
            is_known_n.astype(np.float64),
        ),
        axis=1,
    )
