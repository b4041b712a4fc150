"""Compiles the ops of a decoding step and of a draft before the first request needs them."""

from collections.abc import Sequence

import torch

from cascadia_kernels.fold_sampled import fold_sampled
from cascadia_kernels.hidden_probe import ProbeWeights, hidden_probe
from cascadia_kernels.layout import KeptLogits
from cascadia_kernels.row_statistics import row_statistics
from cascadia_kernels.row_summary import row_summary
from cascadia_kernels.token_values import token_values
from cascadia_kernels.verify_draft import verify_draft

ALIGNMENT = 16  # Triton compiles strides that are divisible by it into variants of their own


def warm_up(
    device: torch.device | str,
    columns: int,
    dtypes: Sequence[torch.dtype] = (torch.float32,),
    token_dtypes: Sequence[torch.dtype] = (torch.int32, torch.int64),
    probes: Sequence[ProbeWeights] = (),
    hidden_dtype: torch.dtype = torch.bfloat16,
    *,
    speculates: bool = False,
) -> None:
    """Run every variant of a decoding step's launches and of a draft's once; wait for them.

    Greedy and sampled steps, with and without rows that a grammar, a bias or a processor changes,
    and each probe. The ids of a draft are int64.

    Args:
        columns: V, the vocabulary.
        dtypes: of the logits.
        token_dtypes: of the sampled ids.
        hidden_dtype: of the hidden states that the probes read.
        speculates: whether steps of speculative decoding run too, whose ids and rows are int32.
    """
    temperature_B = torch.ones(2, device=device)
    draft_N = torch.zeros(2, dtype=torch.int64, device=device)
    starts_H = torch.tensor([0, 2], device=device)
    nodes_R = torch.zeros(2, dtype=torch.int32, device=device)
    for dtype in dtypes:
        for logits_BV in _layouts(columns, dtype, device):
            verify_draft(logits_BV, draft_N, starts_H)
            if speculates:
                accepted = row_statistics(logits_BV, rows_R=nodes_R)
                token_values(accepted, logits_BV, nodes_R, nodes_R)
            kept_logits = KeptLogits(
                torch.zeros(2, columns, dtype=dtype, device=device),
                torch.zeros(2, dtype=torch.int32, device=device),
            )
            for is_sampled in (False, True):
                given_B = temperature_B if is_sampled else None
                buffer_BV = logits_BV if is_sampled else None
                statistics = row_statistics(logits_BV, given_B)
                row_summary(statistics, given_B)
                for token_dtype in token_dtypes:
                    token_ids_B = torch.zeros(2, dtype=token_dtype, device=device)
                    for changed in (None, kept_logits):
                        fold_sampled(statistics, token_ids_B, buffer_BV, given_B, changed)
    for weights in probes:
        hidden = weights.first_HU.shape[0]
        hidden_probe(torch.zeros(2, hidden, dtype=hidden_dtype, device=device), weights)
    if torch.device(device).type != "cpu":
        torch.accelerator.synchronize(device)


def _layouts(columns: int, dtype: torch.dtype, device: torch.device | str) -> list[torch.Tensor]:
    """Two rows of logits, contiguous; and cut from padded rows where that is another variant."""
    padded = -(-columns // ALIGNMENT) * ALIGNMENT
    widths = sorted({columns, padded})
    return [torch.zeros(2, width, dtype=dtype, device=device)[:, :columns] for width in widths]
