"""What the score model sees of an answer: features of the running state.

Compiled, because they are computed in the engine worker whenever an answer ends.

Shape legend: N answers, S state columns, F features.
"""

import math

import numba
import numpy as np

from cascadia_sglang.judge.state import (
    COUNT,
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
)

FEATURES = (
    "mean_logprob",
    "min_logprob",
    "sum_logprob",
    "sequence_logit",  # log-odds of the whole answer under the model
    "weakest_logit",  # log-odds of its least likely token
    "tail_logprob",  # mean over the last tokens (DeepConf, arXiv 2508.15260)
    "mean_entropy",
    "max_entropy",
    "mean_margin",
    "min_margin",
    "mean_self_certainty",
    "min_self_certainty",
    "log_tokens",
    "log_prompt_tokens",
    "truncated",  # 1 where the answer ended at its length limit
    "previous_logit",  # log-odds of the score of the tier before; 0 at the first tier
)

# Log-odds are cut here: beyond it fp32 rounding of the logits decides, not the model.
_LOGIT_LIMIT = 14.0


def logit(probability: FloatArray | float) -> FloatArray:
    """Log-odds, cut to ±14."""
    with np.errstate(divide="ignore"):
        odds = np.log(probability) - np.log1p(-np.asarray(probability))
    cut: FloatArray = np.clip(odds, -_LOGIT_LIMIT, _LOGIT_LIMIT)
    return cut


@numba.njit("float64(float64)", cache=True)
def _logit(probability: float) -> float:
    """`logit` of one number."""
    if probability <= 0.0:
        return -_LOGIT_LIMIT
    if probability >= 1.0:
        return _LOGIT_LIMIT
    odds = math.log(probability) - math.log1p(-probability)
    return min(max(odds, -_LOGIT_LIMIT), _LOGIT_LIMIT)


@numba.njit("float64(float64)", cache=True)
def _logit_of_log(logprob: float) -> float:
    """Log-odds from a log-probability, without losing the digits near probability 1."""
    if math.isnan(logprob):
        return logprob
    if logprob >= 0.0:
        return _LOGIT_LIMIT
    odds = logprob - math.log(-math.expm1(logprob))
    return min(max(odds, -_LOGIT_LIMIT), _LOGIT_LIMIT)


@numba.njit(
    "float64[:,:](float64[:,:], float64[:], float64[:], float64[:])", cache=True, nogil=True
)
def features(
    states_NS: FloatArray,
    prompt_tokens_N: FloatArray,
    truncated_N: FloatArray,
    previous_score_N: FloatArray,
) -> FloatArray:
    """Features in the order of `FEATURES`, [N, F].

    Args:
        states_NS: states with at least one token each.
        prompt_tokens_N: tokens of the prompt.
        truncated_N: 1 where the answer ended at its length limit, else 0.
        previous_score_N: score of the tier before, NaN where there was none.
    """
    rows_NF = np.empty((len(states_NS), len(FEATURES)))
    for row in range(len(states_NS)):
        answer, values = states_NS[row], rows_NF[row]
        count = answer[COUNT]
        tail = 0.0
        for place in range(TAIL, TAIL + TAIL_WINDOW):
            tail += answer[place]
        values[0] = answer[SUM_LOGPROB] / count
        values[1] = answer[MIN_LOGPROB]
        values[2] = answer[SUM_LOGPROB]
        values[3] = _logit_of_log(answer[SUM_LOGPROB])
        values[4] = _logit_of_log(answer[MIN_LOGPROB])
        values[5] = tail / min(count, float(TAIL_WINDOW))
        values[6] = answer[SUM_ENTROPY] / count
        values[7] = answer[MAX_ENTROPY]
        values[8] = answer[SUM_MARGIN] / count
        values[9] = answer[MIN_MARGIN]
        values[10] = answer[SUM_SELF_CERTAINTY] / count
        values[11] = answer[MIN_SELF_CERTAINTY]
        values[12] = math.log(count)
        values[13] = math.log1p(prompt_tokens_N[row])
        values[14] = truncated_N[row]
        previous = previous_score_N[row]
        values[15] = 0.0 if math.isnan(previous) else _logit(previous)
    return rows_NF
