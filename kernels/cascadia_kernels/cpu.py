"""What a CPU tensor gets: the ops of a decoding step and of a draft in PyTorch, each in one go.

Shape legend: B rows, V vocabulary, K = min(V, 16) best columns, P partial sums, D step values; N
places of G drafts, H = G + 1.
"""

from typing import TYPE_CHECKING

import torch

from cascadia_kernels.best_keys import BEST_PAIRS, pack_keys

if TYPE_CHECKING:
    from cascadia_kernels.combine import RowSummary


def row_statistics_cpu(
    logits_BV: torch.Tensor, temperature_B: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Partial sums [B, 1, P] and best keys [B, 1, K] of whole rows, best first."""
    logits_BV = logits_BV.float()
    best_BK, columns_BK = logits_BV.topk(min(logits_BV.shape[1], BEST_PAIRS), dim=-1)
    peak_B1 = best_BK[:, :1]
    d_BV = logits_BV - peak_B1.masked_fill(peak_B1.isneginf(), 0.0)
    weight_BV = d_BV.exp()
    tempered_BV = weight_BV
    if temperature_B is not None:
        tempered_BV = (d_BV / temperature_B.unsqueeze(-1)).exp()
    is_finite_BV = ~d_BV.isneginf()
    finite_d_BV = d_BV.masked_fill(~is_finite_BV, 0.0)
    # PyTorch splits the sum of one long row over its threads, but never a row among several. All
    # sums are taken as one of 4 * B rows, so a lone row adds up in the order it has in a batch.
    sums_4B = torch.stack((weight_BV, tempered_BV, finite_d_BV * weight_BV, finite_d_BV)).sum(-1)
    finite_B = is_finite_BV.sum(dim=-1).float()
    kept_B = torch.full_like(finite_B, best_BK.shape[1])
    partials_BP = torch.stack((peak_B1.squeeze(-1), *sums_4B, finite_B, kept_B), dim=-1)
    # Equal logits come in any order from `topk`; in that of their keys the lower column is first.
    keys_BK = pack_keys(best_BK, columns_BK).sort(dim=-1, descending=True).values
    return partials_BP.unsqueeze(1), keys_BK.unsqueeze(1)


def row_summary_cpu(
    partials_BP: torch.Tensor, temperature_B: torch.Tensor | None
) -> tuple[torch.Tensor, ...]:
    """Logsumexp, tempered logsumexp, entropy, top-1 log-probability and self-certainty, [B]."""
    peak_B, total_B, tempered_B, weighted_B, linear_B, finite_B, _ = partials_BP.unbind(-1)
    log_total_B = total_B.masked_fill(total_B == 0.0, float("nan")).log()
    tempered_peak_B = peak_B if temperature_B is None else peak_B / temperature_B
    return (
        peak_B + log_total_B,
        tempered_peak_B + tempered_B.masked_fill(total_B == 0.0, float("nan")).log(),
        log_total_B - weighted_B / total_B,
        -log_total_B,
        log_total_B - linear_B / finite_B - finite_B.log(),
    )


def fold_sampled_cpu(
    summary: "RowSummary",
    token_ids_B: torch.Tensor,
    probability_B: torch.Tensor | None,
    temperature_B: torch.Tensor | None,
) -> torch.Tensor:
    """Step values [B, D]."""
    is_token_BK = summary.best_ids_BK == token_ids_B.to(torch.int64).unsqueeze(-1)
    known_B = is_token_BK.any(dim=-1)
    # The last of the best logits is the least: the maximum is the token's where it is among them.
    bound_B1 = summary.best_logits_BK[:, -1:]
    logit_B = torch.where(is_token_BK, summary.best_logits_BK, bound_B1).amax(dim=-1)
    if probability_B is not None:
        tempered_B = probability_B.float().log() + summary.tempered_logsumexp_B
        from_sampler_B = tempered_B if temperature_B is None else temperature_B * tempered_B
        is_usable_B = ~known_B & from_sampler_B.isfinite()
        logit_B = torch.where(is_usable_B, from_sampler_B, logit_B)
        known_B = known_B | is_usable_B
    return torch.stack(
        (
            logit_B - summary.logsumexp_B,
            summary.entropy_B,
            summary.margin_B,
            summary.self_certainty_B,
            known_B.float(),
        ),
        dim=-1,
    )


def draft_values_cpu(
    summary: "RowSummary", logits_NV: torch.Tensor, token_ids_N: torch.Tensor
) -> torch.Tensor:
    """Step values [N, D] of tokens whose logits are at hand."""
    token_ids_N = token_ids_N.to(torch.int64)
    is_token_N = (token_ids_N >= 0) & (token_ids_N < logits_NV.shape[1])
    at_N1 = token_ids_N.where(is_token_N, 0).unsqueeze(-1)
    logit_N = logits_NV.gather(1, at_N1).squeeze(-1).float().where(is_token_N, float("nan"))
    return torch.stack(
        (
            logit_N - summary.logsumexp_B,
            summary.entropy_B,
            summary.margin_B,
            summary.self_certainty_B,
            is_token_N.float(),
        ),
        dim=-1,
    )


def first_disagreements_cpu(
    preferred_N: torch.Tensor, token_ids_N: torch.Tensor, starts_H: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Places before the first disagreement of every draft, and the token preferred there, [G]."""
    places_N = torch.arange(len(preferred_N))
    differing_M = places_N[preferred_N != token_ids_N]
    starts_G, ends_G = starts_H[:-1].to(torch.int64), starts_H[1:].to(torch.int64)
    # The first of the differing places at or after each start; the end where there is none.
    at_G = torch.searchsorted(differing_M, starts_G)
    parted_G = torch.cat((differing_M, places_N.new_tensor([len(places_N)])))[at_G]
    parted_G = torch.minimum(parted_G, ends_G)
    there_G = torch.cat((preferred_N, preferred_N.new_tensor([-1])))[parted_G]
    return parted_G - starts_G, there_G.where(parted_G < ends_G, -1)
