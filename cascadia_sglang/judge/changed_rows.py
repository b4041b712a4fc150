"""Which rows of a step a grammar, a bias or a processor of a request's own changes.

Shape legend: B rows, V vocabulary, W words or bools of a row's grammar mask.
"""

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from sglang.srt.sampling.sampling_batch_info import SamplingBatchInfo


def forced_rows(mask_BW: torch.Tensor, top1_ids_B: torch.Tensor) -> torch.Tensor:
    """Rows whose likeliest token a grammar does not allow, [B] bool.

    Args:
        mask_BW: as SGLang's grammar backends fill it: int32 words with a bit a token, set where it
            is allowed (xgrammar, llguidance), or one bool a token, true where it is not (outlines).
            Rows without a grammar allow everything.
        top1_ids_B: int64.
    """
    ids_B1 = top1_ids_B.unsqueeze(-1)
    if mask_BW.dtype == torch.bool:
        return mask_BW.gather(1, ids_B1).squeeze(-1)
    # A column beyond the mask's vocabulary has no bit, and the mask leaves it as it is.
    last_word = mask_BW.shape[1] - 1
    words_B1 = mask_BW.gather(1, (ids_B1 // 32).clamp(max=last_word))
    is_masked_B1 = ((words_B1 >> (ids_B1 % 32)) & 1 == 0) & (ids_B1 // 32 <= last_word)
    return is_masked_B1.squeeze(-1)


def changes_logits(sampling_info: "SamplingBatchInfo") -> bool:
    """Whether a request of the batch has its logits changed before the sampler."""
    return (
        sampling_info.grammar_mask is not None
        or sampling_info.logit_bias is not None
        or sampling_info.has_custom_logit_processor
    )


def changed_rows(
    sampling_info: "SamplingBatchInfo", logits_BV: torch.Tensor
) -> torch.Tensor | None:
    """Rows that a grammar, bias or processor of their own changes before the sampler, [B] bool.

    Row by row, so that what a request asks for does not change its neighbours' step values. None
    where no request of the batch asks for any.
    """
    if not changes_logits(sampling_info):
        return None
    changed_B = torch.zeros(len(logits_BV), dtype=torch.bool, device=logits_BV.device)
    if sampling_info.grammar_mask is not None:
        rows = [row for row, grammar in enumerate(sampling_info.grammars) if grammar]
        changed_B[rows] = True
    if sampling_info.logit_bias is not None:
        changed_B |= (sampling_info.logit_bias != 0).any(dim=-1)
    if sampling_info.has_custom_logit_processor:
        for entry in sampling_info.custom_logit_processor.values():
            changed_B[entry.indices] = True
    return changed_B
