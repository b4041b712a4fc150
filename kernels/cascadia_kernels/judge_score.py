"""The calibrated score of answers whose states are on the device.

Shape legend: B answers, N slots, S state columns, F features.
"""

import torch
import triton
import triton.language as tl

from cascadia_kernels.device import check_runs_triton
from cascadia_kernels.fold_into_states import STATE_COLUMNS, TAIL_WINDOW

# Features of a state, in order: the base features of the judge's calibration.
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
LOGIT_LIMIT = 14.0

_LOGIT_LIMIT = tl.constexpr(LOGIT_LIMIT)
_TAIL = tl.constexpr(STATE_COLUMNS.index("tail_0"))
_TAIL_WINDOW = tl.constexpr(TAIL_WINDOW)
_FORCED = tl.constexpr(STATE_COLUMNS.index("forced"))


def judge_score(
    states_NS: torch.Tensor,
    slots_B: torch.Tensor,
    prompt_tokens_B: torch.Tensor,
    is_truncated_B: torch.Tensor,
    weights_F: torch.Tensor,
    bias_B: torch.Tensor,
) -> torch.Tensor:
    """Score = sigmoid(weights · features + bias), the probability that the answer is acceptable.

    Args:
        states_NS: float64, as `fold_into_states` keeps them.
        slots_B: the answers' slots, integer.
        prompt_tokens_B: tokens of their prompts, integer.
        is_truncated_B: bool, ended at the length limit.
        weights_F: float64, one for each of FEATURES, the calibration's scale folded in.
        bias_B: float64, the calibration's bias and what earlier tiers' scores add to the log-odds.

    Returns:
        Scores in [0, 1], float64, [B], fresh memory; NaN where the state is empty or not finite.

    Raises:
        ValueError: if a shape does not match, or the tensors are on the CPU.
    """
    check_runs_triton("judge_score", states_NS)
    if weights_F.shape != (len(FEATURES),):
        raise ValueError(f"judge_score takes {len(FEATURES)} weights, got {list(weights_F.shape)}")
    rows = len(slots_B)
    for tensor in (prompt_tokens_B, is_truncated_B, bias_B):
        if tensor.shape != (rows,):
            raise ValueError(
                f"judge_score takes one entry an answer for {rows}, got {list(tensor.shape)}"
            )
    score_B = torch.empty(rows, dtype=torch.float64, device=states_NS.device)
    if rows:
        judge_score_kernel[(rows,)](
            states_NS,
            states_NS.stride(0),
            slots_B,
            prompt_tokens_B,
            is_truncated_B,
            weights_F,
            bias_B,
            score_B,
            num_warps=1,
        )
    return score_B


@triton.jit
def _logit_of_log(logprob):
    """Log-odds of a probability from its logarithm, cut to the limit."""
    # Short of the limit 1 - exp(logprob) is at least 8e-7 and keeps its digits in float64.
    odds = logprob - tl.log(1.0 - tl.exp(tl.minimum(logprob, -1e-7)))
    # An order of comparisons that lets NaN through.
    odds = tl.where(odds > _LOGIT_LIMIT, _LOGIT_LIMIT, odds)
    odds = tl.where(odds < -_LOGIT_LIMIT, -_LOGIT_LIMIT, odds)
    return tl.where(logprob != logprob, logprob, odds)


@triton.jit
def judge_score_kernel(
    states_ptr,
    states_stride,
    slots_ptr,
    prompt_tokens_ptr,
    is_truncated_ptr,
    weights_ptr,
    bias_ptr,
    score_ptr,
):
    row = tl.program_id(0).to(tl.int64)
    state_ptr = states_ptr + tl.load(slots_ptr + row).to(tl.int64) * states_stride
    count = tl.load(state_ptr)
    sum_logprob = tl.load(state_ptr + 1)
    min_logprob = tl.load(state_ptr + 6)
    forced = tl.load(state_ptr + _FORCED)
    steps = count + forced
    tail = tl.sum(tl.load(state_ptr + _TAIL + tl.arange(0, _TAIL_WINDOW)), axis=0)
    prompt_tokens = tl.load(prompt_tokens_ptr + row).to(tl.float64)
    truncated = tl.load(is_truncated_ptr + row).to(tl.float64)

    odds = tl.load(bias_ptr + row)
    odds += tl.load(weights_ptr) * (sum_logprob / count)
    odds += tl.load(weights_ptr + 1) * min_logprob
    odds += tl.load(weights_ptr + 2) * sum_logprob
    odds += tl.load(weights_ptr + 3) * _logit_of_log(sum_logprob)
    odds += tl.load(weights_ptr + 4) * _logit_of_log(min_logprob)
    odds += tl.load(weights_ptr + 5) * (tail / tl.minimum(count, 1.0 * _TAIL_WINDOW))
    odds += tl.load(weights_ptr + 6) * (tl.load(state_ptr + 2) / count)
    odds += tl.load(weights_ptr + 7) * tl.load(state_ptr + 9)
    odds += tl.load(weights_ptr + 8) * (tl.load(state_ptr + 3) / count)
    odds += tl.load(weights_ptr + 9) * tl.load(state_ptr + 7)
    odds += tl.load(weights_ptr + 10) * (tl.load(state_ptr + 4) / count)
    odds += tl.load(weights_ptr + 11) * tl.load(state_ptr + 8)
    odds += tl.load(weights_ptr + 12) * tl.log(steps)
    odds += tl.load(weights_ptr + 13) * tl.log(1.0 + prompt_tokens)
    odds += tl.load(weights_ptr + 14) * truncated
    odds += tl.load(weights_ptr + 15) * (forced / steps)
    # Neither NaN nor an infinity: the difference to itself is zero.
    cut = tl.minimum(tl.maximum(odds, -700.0), 700.0)
    score = tl.where(odds - odds == 0.0, 1.0 / (1.0 + tl.exp(-cut)), float("nan"))
    tl.store(score_ptr + row, score)
