"""Compiles the ops of a decoding step and of a draft before the first request needs them."""

from collections.abc import Sequence

import torch

from cascadia_kernels.fold_sampled import fold_sampled
from cascadia_kernels.row_statistics import row_statistics
from cascadia_kernels.verify_draft import verify_draft


def warm_up(
    device: torch.device | str,
    columns: int,
    dtypes: Sequence[torch.dtype] = (torch.float32,),
    token_dtypes: Sequence[torch.dtype] = (torch.int32, torch.int64),
) -> None:
    """Run every variant of a decoding step's two launches and of a draft's once; wait for them.

    Greedy and sampled steps, with and without rows whose probabilities are of other logits. The ids
    of a draft are int64.

    Args:
        columns: V, the vocabulary.
        dtypes: of the logits.
        token_dtypes: of the sampled ids.
    """
    temperature_B = torch.ones(2, device=device)
    unusable_B = torch.zeros(2, dtype=torch.bool, device=device)
    draft_N = torch.zeros(2, dtype=torch.int64, device=device)
    starts_H = torch.tensor([0, 2], device=device)
    for dtype in dtypes:
        logits_BV = torch.zeros(2, columns, dtype=dtype, device=device)
        verify_draft(logits_BV, draft_N, starts_H)
        greedy = row_statistics(logits_BV)
        sampled = row_statistics(logits_BV, temperature_B)
        for token_dtype in token_dtypes:
            token_ids_B = torch.zeros(2, dtype=token_dtype, device=device)
            fold_sampled(greedy, token_ids_B, None, None)
            for unusable in (None, unusable_B):
                fold_sampled(sampled, token_ids_B, logits_BV, temperature_B, unusable)
    if torch.device(device).type != "cpu":
        torch.accelerator.synchronize(device)
