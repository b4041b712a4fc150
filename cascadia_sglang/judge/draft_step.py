"""What a forward that read a draft says of the draft's tokens, as the judge counts them.

Shape legend: n places of a draft, V vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from cascadia_sglang.judge.host_step import (
    ENTROPY,
    LOGSUMEXP,
    MARGIN,
    SELF_CERTAINTY,
    host_statistics,
)
from cascadia_sglang.judge.state import (
    COUNT,
    KNOWN,
    MAX_ENTROPY,
    MIN_LOGPROB,
    MIN_MARGIN,
    MIN_SELF_CERTAINTY,
    SUM_ENTROPY,
    SUM_LOGPROB,
    SUM_MARGIN,
    SUM_SELF_CERTAINTY,
    TAIL,
    TAIL_WINDOW,
    FloatArray,
    StateRow,
    StateTable,
)


@dataclass(frozen=True, slots=True)
class DraftStep:
    """Step values of a draft's tokens, [n, 5], float64, in the order of `STEP_VALUES`."""

    values_n5: FloatArray

    def fold_draft(self, table: StateTable, state: StateRow, token_ids: Sequence[int]) -> None:
        """Fold the first places, which hold these tokens, into a state, one after the other."""
        # One call: a draft of a thousand tokens would cost a thousand calls otherwise.
        _fold_in_order(table.states_NS[state.index], self.values_n5[: len(token_ids)])


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


@numba.njit("void(float64[:], float64[:,:])", cache=True, nogil=True)
def _fold_in_order(answer: FloatArray, values_n5: FloatArray) -> None:
    """`state.fold_step` for steps that all belong to one state."""
    for row in range(len(values_n5)):
        logprob, entropy, margin, certainty, known = values_n5[row]
        answer[TAIL + int(answer[COUNT]) % TAIL_WINDOW] = logprob
        answer[COUNT] += 1.0
        answer[SUM_LOGPROB] += logprob
        answer[SUM_ENTROPY] += entropy
        answer[SUM_MARGIN] += margin
        answer[SUM_SELF_CERTAINTY] += certainty
        answer[KNOWN] += known
        answer[MIN_LOGPROB] = np.minimum(answer[MIN_LOGPROB], logprob)
        answer[MIN_MARGIN] = np.minimum(answer[MIN_MARGIN], margin)
        answer[MIN_SELF_CERTAINTY] = np.minimum(answer[MIN_SELF_CERTAINTY], certainty)
        answer[MAX_ENTROPY] = np.maximum(answer[MAX_ENTROPY], entropy)
