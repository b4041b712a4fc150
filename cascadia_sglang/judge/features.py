"""What the score model sees of an answer: features of the running state.

Shape legend: N answers, S state columns, F features.
"""

import numpy as np

from cascadia_sglang.judge import state
from cascadia_sglang.judge.state import FloatArray

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
    count = states_NS[:, state.COUNT]
    tail = states_NS[:, state.TAIL :].sum(axis=1) / np.minimum(count, state.TAIL_WINDOW)
    sum_logprob = states_NS[:, state.SUM_LOGPROB]
    min_logprob = states_NS[:, state.MIN_LOGPROB]
    columns = (
        sum_logprob / count,
        min_logprob,
        sum_logprob,
        _logit_of_log(sum_logprob),
        _logit_of_log(min_logprob),
        tail,
        states_NS[:, state.SUM_ENTROPY] / count,
        states_NS[:, state.MAX_ENTROPY],
        states_NS[:, state.SUM_MARGIN] / count,
        states_NS[:, state.MIN_MARGIN],
        states_NS[:, state.SUM_SELF_CERTAINTY] / count,
        states_NS[:, state.MIN_SELF_CERTAINTY],
        np.log(count),
        np.log1p(prompt_tokens_N),
        truncated_N,
        np.where(np.isnan(previous_score_N), 0.0, logit(np.nan_to_num(previous_score_N, nan=0.5))),
    )
    return np.stack(columns, axis=1)


def _logit_of_log(logprob: FloatArray) -> FloatArray:
    """Log-odds from a log-probability, without losing the digits near probability 1."""
    with np.errstate(divide="ignore"):
        complement = np.log(-np.expm1(np.minimum(logprob, 0.0)))
    cut: FloatArray = np.clip(logprob - complement, -_LOGIT_LIMIT, _LOGIT_LIMIT)
    return cut
