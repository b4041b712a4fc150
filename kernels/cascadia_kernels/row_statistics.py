"""What one row of next-token logits says about the model's certainty, in one pass over the row.

Shape legend: B rows (one request each), V vocabulary, K = min(V, BEST_PAIRS) best columns.
"""

import math
from typing import NamedTuple

import torch

BEST_PAIRS = 16


class RowStatistics(NamedTuple):
    """Statistics of the raw logits (temperature 1 unless said), one entry a row, float32.

    Columns at -inf have probability zero. A row that holds NaN or +inf, or nothing finite, is NaN
    in all but its margin and its best pairs.
    """

    logsumexp_B: torch.Tensor
    tempered_logsumexp_B: torch.Tensor  # of logits / temperature
    entropy_B: torch.Tensor  # nats, >= 0
    top1_logprob_B: torch.Tensor
    margin_B: torch.Tensor  # best logit - second best, >= 0; +inf where only one column is finite
    self_certainty_B: torch.Tensor  # >= 0, 0 for a uniform row (arXiv 2502.18581)
    best_ids_BK: torch.Tensor  # int64, best logit first
    best_logits_BK: torch.Tensor


def row_statistics(
    logits_BV: torch.Tensor, temperature_B: torch.Tensor | None = None
) -> RowStatistics:
    """Summarise each row of logits.

    Self-certainty is -mean(log(n * p)) over the n columns with finite logits: the
    cross-entropy from the uniform distribution, less its own entropy. A row's result depends on
    that row alone, bit for bit, whatever B and the other rows are.

    Args:
        logits_BV: any float dtype, not modified.
        temperature_B: > 0, the sampler's temperature for the row; None for 1 throughout.

    Returns:
        Tensors that do not alias the input; an empty batch gives empty ones.

    Raises:
        ValueError: if a shape does not match.
    """
    if logits_BV.ndim != 2 or logits_BV.shape[1] == 0:
        raise ValueError(f"row_statistics takes logits [B, V > 0], got {list(logits_BV.shape)}")
    if temperature_B is not None and temperature_B.shape != logits_BV.shape[:1]:
        raise ValueError(
            f"row_statistics takes one temperature a row, got {list(temperature_B.shape)} "
            f"for logits {list(logits_BV.shape)}"
        )
    logits_BV = logits_BV.float()
    columns = logits_BV.shape[1]
    best_logits_BK, best_ids_BK = logits_BV.topk(min(columns, BEST_PAIRS), dim=-1)
    top1_B = best_logits_BK.select(1, 0)
    logprobs_BV = logits_BV.log_softmax(dim=-1)
    top1_logprob_B = logprobs_BV.amax(dim=-1)
    logsumexp_B = top1_B - top1_logprob_B
    if temperature_B is None:
        tempered_logsumexp_B = logsumexp_B
    else:
        tempered_BV = logits_BV / temperature_B.unsqueeze(-1)
        tempered_logsumexp_B = top1_B / temperature_B - tempered_BV.log_softmax(dim=-1).amax(dim=-1)
    finite_count_B = columns - logprobs_BV.isneginf().sum(dim=-1)
    finite_BV = logprobs_BV.nan_to_num(nan=math.nan, neginf=0.0)
    weighted_BV = logprobs_BV.exp_().mul_(finite_BV)
    # PyTorch splits the sum of one long row over its threads, but never a row among several. Both
    # sums are taken as one of 2 * B rows, so a lone row adds up in the order it has in a batch.
    sums_2B = torch.stack((finite_BV, weighted_BV)).sum(dim=-1)
    return RowStatistics(
        logsumexp_B=logsumexp_B,
        tempered_logsumexp_B=tempered_logsumexp_B,
        entropy_B=sums_2B.select(0, 1).neg(),
        top1_logprob_B=top1_logprob_B,
        margin_B=(
            top1_B - best_logits_BK.select(1, 1)
            if columns > 1
            else torch.full_like(top1_B, math.inf)
        ),
        # -(log(n) + sum / n)
        self_certainty_B=torch.addcdiv(
            finite_count_B.log(), sums_2B.select(0, 0), finite_count_B
        ).neg_(),
        best_ids_BK=best_ids_BK,
        best_logits_BK=best_logits_BK,
    )
