"""Features of an answer for the score model: its running state, and earlier tiers' scores.

Compiled, because the base features are computed in the engine worker whenever an answer ends.

Shape legend: N answers, T states of a table, S state columns, F base features, J earlier tiers,
E = 2 * J columns.
"""

import math

import numba
import numpy as np
import numpy.typing as npt

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.judge.state import (
    COUNT,
    FORCED,
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
    "forced_share",  # of the steps: the grammar did not allow the model's likeliest token
)

# Log-odds are cut here: beyond it fp32 rounding of the logits decides, not the model.
_LOGIT_LIMIT = 14.0


def logit(probability: FloatArray | float) -> FloatArray:
    """Log-odds, cut to ±14."""
    with np.errstate(divide="ignore"):
        odds = np.log(probability) - np.log1p(-np.asarray(probability))
    cut: FloatArray = np.clip(odds, -_LOGIT_LIMIT, _LOGIT_LIMIT)
    return cut


def earlier_names(earlier_tiers: int) -> list[str]:
    """Columns that follow the base features where this many tiers came before."""
    return [f"tier_{j}_{what}" for j in range(earlier_tiers) for what in ("logit", "unknown")]


def earlier_features(scores_NJ: FloatArray) -> FloatArray:
    """What the earlier tiers said, in the order of `earlier_names`, [N, E].

    Args:
        scores_NJ: final scores of the earlier tiers, NaN where none is known: the tier was skipped,
            its attempt was ended early, or it was not judged.
    """
    unknown_NJ = np.isnan(scores_NJ)
    columns_NE = np.empty((len(scores_NJ), 2 * scores_NJ.shape[1]))
    columns_NE[:, 0::2] = np.where(unknown_NJ, 0.0, logit(scores_NJ))
    columns_NE[:, 1::2] = unknown_NJ
    return columns_NE


@numba.njit("float64(float64)", cache=True)
def _logit_of_log(logprob: float) -> float:
    """Log-odds from a log-probability, without losing the digits near probability 1."""
    if math.isnan(logprob):
        return logprob
    if logprob >= 0.0:
        return _LOGIT_LIMIT
    odds = logprob - math.log(-math.expm1(logprob))
    return min(max(odds, -_LOGIT_LIMIT), _LOGIT_LIMIT)


@numba.njit(cache=True, nogil=True)
def _write_features(
    answer_S: FloatArray, prompt_tokens: float, truncated: float, values_F: FloatArray
) -> None:
    """Of one answer, in the order of `FEATURES`."""
    count = answer_S[COUNT]
    steps = count + answer_S[FORCED]
    if count == 0.0:
        values_F[:] = np.nan
        return
    tail = 0.0
    for index in range(TAIL, TAIL + TAIL_WINDOW):
        tail += answer_S[index]
    values_F[0] = answer_S[SUM_LOGPROB] / count
    values_F[1] = answer_S[MIN_LOGPROB]
    values_F[2] = answer_S[SUM_LOGPROB]
    values_F[3] = _logit_of_log(answer_S[SUM_LOGPROB])
    values_F[4] = _logit_of_log(answer_S[MIN_LOGPROB])
    values_F[5] = tail / min(count, float(TAIL_WINDOW))
    values_F[6] = answer_S[SUM_ENTROPY] / count
    values_F[7] = answer_S[MAX_ENTROPY]
    values_F[8] = answer_S[SUM_MARGIN] / count
    values_F[9] = answer_S[MIN_MARGIN]
    values_F[10] = answer_S[SUM_SELF_CERTAINTY] / count
    values_F[11] = answer_S[MIN_SELF_CERTAINTY]
    values_F[12] = math.log(steps)
    values_F[13] = math.log1p(prompt_tokens)
    values_F[14] = truncated
    values_F[15] = answer_S[FORCED] / steps


@numba.njit("float64[:,:](float64[:,:], float64[:], float64[:])", cache=True, nogil=True)
def features(
    states_NS: FloatArray, prompt_tokens_N: FloatArray, truncated_N: FloatArray
) -> FloatArray:
    """Features in the order of `FEATURES`, [N, F]; NaN where every step was forced.

    Args:
        states_NS: states with at least one token each.
        prompt_tokens_N: tokens of the prompt.
        truncated_N: 1 where the answer ended at its length limit, else 0.
    """
    rows_NF = np.empty((len(states_NS), len(FEATURES)))
    for row in range(len(states_NS)):
        _write_features(states_NS[row], prompt_tokens_N[row], truncated_N[row], rows_NF[row])
    return rows_NF


@numba.njit("float64[:,::1](float64[:,::1], int64[:,::1])", cache=True, nogil=True)
def features_of(states_TS: FloatArray, answers_N3: npt.NDArray[np.int64]) -> FloatArray:
    """`features` of some states of a table, without copies of them, [N, F].

    Args:
        answers_N3: of each answer, the place of its state, the tokens of its prompt, and 1 where it
            ended at its length limit, else 0.
    """
    rows_NF = np.empty((len(answers_N3), len(FEATURES)))
    for row in range(len(answers_N3)):
        state, prompt_tokens, truncated = answers_N3[row]
        _write_features(states_TS[state], float(prompt_tokens), float(truncated), rows_NF[row])
    return rows_NF
