"""The PyTorch forms of the operations of a decoding step and of a draft, for CPU tensors.

Shape legend: B rows, V vocabulary, P partial statistics, D step values; R rows that have
statistics; N places of G drafts, H = G + 1.
"""

import torch

from cascadia_kernels.layout import KeptLogits


def row_statistics_torch(
    logits_BV: torch.Tensor, temperature_B: torch.Tensor | None
) -> torch.Tensor:
    """Partial statistics [B, 1, P] of whole rows."""
    logits_BV = logits_BV.float()
    best_BK = logits_BV.topk(min(logits_BV.shape[1], 2), dim=-1).values
    peak_B1 = best_BK[:, :1]
    second_B = (
        best_BK[:, -1] if best_BK.shape[1] == 2 else torch.full_like(best_BK[:, 0], -torch.inf)
    )
    # Of equal logits `topk` takes any; `argmax` takes the first.
    place_B = logits_BV.argmax(dim=-1).float()
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
    partials_BP = torch.stack((peak_B1.squeeze(-1), *sums_4B, finite_B, second_B, place_B), dim=-1)
    return partials_BP.unsqueeze(1)


def row_summary_torch(
    partials_BP: torch.Tensor, temperature_B: torch.Tensor | None
) -> tuple[torch.Tensor, ...]:
    """Logsumexp, tempered logsumexp, entropy, top-1 log-probability, self-certainty, margin, best
    id, [B]."""
    peak_B, _, _, _, _, _, second_B, place_B = partials_BP.unbind(-1)
    log_total_B, log_tempered_B, entropy_B, certainty_B = _combined(partials_BP)
    tempered_peak_B = peak_B if temperature_B is None else peak_B / temperature_B
    return (
        peak_B + log_total_B,
        tempered_peak_B + log_tempered_B,
        entropy_B,
        -log_total_B,
        certainty_B,
        peak_B - second_B,
        place_B.to(torch.int64),
    )


def fold_sampled_torch(
    partials_BP: torch.Tensor,
    token_ids_B: torch.Tensor,
    probability_BV: torch.Tensor | None,
    temperature_B: torch.Tensor | None,
    kept_logits: KeptLogits | None,
) -> torch.Tensor:
    """Step values [B, D]."""
    peak_B, _, _, _, _, _, second_B, place_B = partials_BP.unbind(-1)
    log_total_B, log_tempered_B, entropy_B, certainty_B = _combined(partials_BP)
    token_ids_B = token_ids_B.to(torch.int64)
    known_B = is_best_B = token_ids_B == place_B.to(torch.int64)
    fall_B = second_B - peak_B
    is_kept_B = torch.zeros_like(is_best_B)
    if kept_logits is not None and len(kept_logits.logits_CV):
        is_kept_B = kept_logits.places_B >= 0
        rows_B = kept_logits.places_B.clamp(min=0).to(torch.int64)
        logit_B, is_token_B = _at(kept_logits.logits_CV, rows_B, token_ids_B)
        has_logit_B = is_kept_B & is_token_B
        fall_B = torch.where(has_logit_B, logit_B - peak_B, fall_B)
        known_B = known_B | has_logit_B
    if probability_BV is not None:
        rows_B = torch.arange(len(token_ids_B))
        probability_B, is_token_B = _at(probability_BV, rows_B, token_ids_B)
        from_sampler_B = probability_B.log() + log_tempered_B
        if temperature_B is not None:
            from_sampler_B = temperature_B * from_sampler_B
        is_usable_B = is_token_B & ~is_kept_B & from_sampler_B.isfinite()
        fall_B = torch.where(is_usable_B, from_sampler_B, fall_B)
        known_B = known_B | is_usable_B
    fall_B = fall_B.masked_fill(is_best_B, 0.0)
    values = (fall_B - log_total_B, entropy_B, peak_B - second_B, certainty_B, known_B.float())
    return torch.stack(values, dim=-1)


def token_values_torch(
    partials_RP: torch.Tensor,
    logits_BV: torch.Tensor,
    token_ids_B: torch.Tensor,
    rows_R: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Step values [R, D] of tokens whose logits are at hand, and the likeliest tokens [R]."""
    peak_R, _, _, _, _, _, second_R, place_R = partials_RP.unbind(-1)
    log_total_R, _, entropy_R, certainty_R = _combined(partials_RP)
    at_R = torch.arange(len(token_ids_B)) if rows_R is None else rows_R.long()
    is_row_R = at_R >= 0
    at_R = at_R.clamp(min=0)
    logit_R, is_token_R = _at(logits_BV, at_R, token_ids_B.to(torch.int64)[at_R])
    fall_R = (logit_R - peak_R).where(is_token_R, float("nan"))
    values = (fall_R - log_total_R, entropy_R, peak_R - second_R, certainty_R)
    values_RD = torch.stack([value.where(is_row_R, float("nan")) for value in values], dim=-1)
    known_R1 = (is_token_R & is_row_R).float().unsqueeze(-1)
    return torch.cat((values_RD, known_R1), dim=-1), place_R.to(torch.int64).where(is_row_R, -1)


def first_disagreements_torch(
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


def _combined(partials_BP: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Relative to the peak, the logarithms of the sums of exp(d) and of exp(d / temperature);
    entropy; self-certainty."""
    _, total_B, tempered_B, weighted_B, linear_B, finite_B, _, _ = partials_BP.unbind(-1)
    is_empty_B = total_B == 0.0  # nothing finite: no distribution, hence NaN
    log_total_B = total_B.masked_fill(is_empty_B, float("nan")).log()
    return (
        log_total_B,
        tempered_B.masked_fill(is_empty_B, float("nan")).log(),
        log_total_B - weighted_B / total_B,
        log_total_B - linear_B / finite_B - finite_B.log(),
    )


def _at(
    values_CV: torch.Tensor, rows_B: torch.Tensor, columns_B: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The value at each row and column, float32, and whether there is such a column."""
    is_column_B = (columns_B >= 0) & (columns_B < values_CV.shape[1])
    return values_CV[rows_B, columns_B.where(is_column_B, 0)].float(), is_column_B
