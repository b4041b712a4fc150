"""The sampled token's log-probability and the step values the judge folds, without the logits.

Shape legend: B rows, K best columns kept by `row_statistics`.
"""

import torch

from cascadia_kernels.row_statistics import RowStatistics

# Columns of the step values, in order.
STEP_VALUES = (
    "logprob",  # of the sampled token under the raw logits
    "entropy",
    "margin",
    "self_certainty",
    "known",  # 1 where the log-probability is exact, 0 where it is only an upper bound
)


def fold_sampled(
    statistics: RowStatistics,
    token_ids_B: torch.Tensor,
    probability_B: torch.Tensor | None,
    temperature_B: torch.Tensor | None,
) -> torch.Tensor:
    """Pack what one decoding step says about the token it chose.

    The sampled token's raw log-probability comes from the best pairs where the token is among
    them. Otherwise it follows from the probability that the sampler left in its buffer:
    log p_T = logit / T - logsumexp_T, so logit = T * (log p_T + logsumexp_T). Where neither is
    there (a token outside the best pairs and no probability), the least of the best pairs bounds
    it from above and `known` is 0.

    Args:
        statistics: of the same rows, taken before the sampler overwrote the logits.
        token_ids_B: sampled ids, any integer dtype.
        probability_B: the sampler's probability of the sampled token, at the row's temperature
            and before any truncation, or None where the sampler left none.
        temperature_B: the sampler's temperature for the row; None for 1 throughout.

    Returns:
        Step values, float32, [B, len(STEP_VALUES)], fresh memory.
    """
    is_token_BK = statistics.best_ids_BK == token_ids_B.to(torch.int64).unsqueeze(-1)
    found_B = is_token_BK.any(dim=-1)
    # The last of the best logits is the least: the maximum is the token's where it is among them.
    bound_B1 = statistics.best_logits_BK[:, -1:]
    logit_B = torch.where(is_token_BK, statistics.best_logits_BK, bound_B1).amax(dim=-1)
    known_B = found_B
    if probability_B is not None:
        tempered_B = probability_B.float().log() + statistics.tempered_logsumexp_B
        from_sampler_B = tempered_B if temperature_B is None else temperature_B * tempered_B
        usable_B = ~found_B & from_sampler_B.isfinite()
        logit_B = torch.where(usable_B, from_sampler_B, logit_B)
        known_B = found_B | usable_B
    return torch.stack(
        (
            logit_B - statistics.logsumexp_B,
            statistics.entropy_B,
            statistics.margin_B,
            statistics.self_certainty_B,
            known_B.float(),
        ),
        dim=-1,
    )
