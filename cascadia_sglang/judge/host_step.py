"""One decoding step on a host without an accelerator: two compiled calls, not sixty small ones.

On a CPU every tensor operation of a step costs more to call than to compute, because the model's
forward has emptied the caches in between. The formulas are those of `cascadia_kernels`, whose
PyTorch forms serve every other device; both are tested against the same float64 reference.

Shape legend: B rows, V vocabulary, S state columns, n rows to fold.
"""

import math

import numba
import numpy as np
import numpy.typing as npt

from cascadia_sglang.judge.state import (
    COUNT,
    FORCED,
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
)

# Columns of the host statistics.
LOGSUMEXP, ENTROPY, MARGIN, SELF_CERTAINTY = range(4)


@numba.njit("void(float32[:], float64[:])", cache=True, nogil=True)
def _write_statistics(
    logits_V: npt.NDArray[np.float32], statistics_4: npt.NDArray[np.float64]
) -> None:
    """Of one row, in the order of the host statistics."""
    columns = len(logits_V)
    first = -np.inf
    second = -np.inf
    for column in range(columns):
        logit = logits_V[column]
        if logit > first:
            second = first
            first = logit
        elif logit > second:
            second = logit
    total = 0.0
    weighted = 0.0
    linear = 0.0
    finite = 0
    for column in range(columns):
        logit = logits_V[column]
        if logit != -np.inf:
            shifted = float(logit) - float(first)
            weight = math.exp(shifted)
            total += weight
            weighted += weight * shifted
            linear += shifted
            finite += 1
    if finite == 0:
        statistics_4[:] = np.nan
        return
    log_total = math.log(total)
    statistics_4[LOGSUMEXP] = float(first) + log_total
    statistics_4[ENTROPY] = log_total - weighted / total
    statistics_4[MARGIN] = float(first) - float(second)
    statistics_4[SELF_CERTAINTY] = log_total - linear / finite - math.log(finite)


@numba.njit("float64[:,:](float32[:,:])", cache=True, nogil=True)
def host_statistics(logits_BV: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Logsumexp, entropy, margin and self-certainty of each row, [B, 4], summed in float64.

    A row depends on itself alone. Columns at -inf have probability zero; a row that holds NaN or
    +inf, or nothing finite, is NaN.
    """
    rows = len(logits_BV)
    statistics_B4 = np.empty((rows, 4))
    for row in range(rows):
        _write_statistics(logits_BV[row], statistics_B4[row])
    return statistics_B4


@numba.njit("float64[:,:](float32[:,:], int64[:])", cache=True, nogil=True, boundscheck=True)
def statistics_of_rows(
    logits_BV: npt.NDArray[np.float32], rows_R: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """`host_statistics` of some rows, [B, 4]; NaN for the others. A negative number is no row."""
    statistics_B4 = np.full((len(logits_BV), 4), np.nan)
    for row in rows_R:
        if row >= 0:
            _write_statistics(logits_BV[row], statistics_B4[row])
    return statistics_B4


@numba.njit(
    "void(float64[:,:], int64[:], int64[:], int64[:], float32[:,:], float64[:,:], boolean[:])",
    cache=True,
    nogil=True,
    boundscheck=True,
)
def fold_host_step(
    states_NS: npt.NDArray[np.float64],
    states_n: npt.NDArray[np.int64],
    rows_n: npt.NDArray[np.int64],
    token_ids_n: npt.NDArray[np.int64],
    logits_BV: npt.NDArray[np.float32],
    statistics_B4: npt.NDArray[np.float64],
    forced_B: npt.NDArray[np.bool_],
) -> None:
    """Fold a step into some requests' states, in place, as `state.fold_step` does.

    Args:
        states_n: places in the state table.
        rows_n: the rows of the step they belong to.
        token_ids_n: sampled tokens, whose log-probability is taken from the logits themselves.
        logits_BV: as they were before the sampler changed them.
        forced_B: rows whose likeliest token a grammar did not allow; they are counted, no more.

    A negative number is no row: its token has no values, and its answer no score.
    """
    for index in range(len(rows_n)):
        answer = states_NS[states_n[index]]
        row = rows_n[index]
        if row < 0:
            answer[COUNT] += 1.0
            answer[SUM_LOGPROB : SUM_SELF_CERTAINTY + 1] = np.nan
            continue
        if forced_B[row]:
            answer[FORCED] += 1.0
            continue
        logprob = float(logits_BV[row, token_ids_n[index]]) - statistics_B4[row, LOGSUMEXP]
        answer[TAIL + int(answer[COUNT]) % TAIL_WINDOW] = logprob
        answer[COUNT] += 1.0
        answer[KNOWN] += 1.0
        answer[SUM_LOGPROB] += logprob
        answer[SUM_ENTROPY] += statistics_B4[row, ENTROPY]
        answer[SUM_MARGIN] += statistics_B4[row, MARGIN]
        answer[SUM_SELF_CERTAINTY] += statistics_B4[row, SELF_CERTAINTY]
        answer[MIN_LOGPROB] = min(answer[MIN_LOGPROB], logprob)
        answer[MIN_MARGIN] = min(answer[MIN_MARGIN], statistics_B4[row, MARGIN])
        answer[MIN_SELF_CERTAINTY] = min(
            answer[MIN_SELF_CERTAINTY], statistics_B4[row, SELF_CERTAINTY]
        )
        answer[MAX_ENTROPY] = max(answer[MAX_ENTROPY], statistics_B4[row, ENTROPY])
