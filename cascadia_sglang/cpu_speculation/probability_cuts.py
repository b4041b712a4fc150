"""Probabilities cut to the likeliest tokens, which SGLang computes with compiled operations.

Shape legend: B rows, V vocabulary.
"""

import torch


def top_k_renorm(probability_BV: torch.Tensor, top_k_B: torch.Tensor) -> torch.Tensor:
    """The k likeliest tokens of each row, with a sum of 1; the others 0, [B, V]."""
    sorted_BV, ids_BV = probability_BV.sort(dim=-1, descending=True, stable=True)
    ranks_V = torch.arange(sorted_BV.shape[1], device=sorted_BV.device)
    return _normalised(sorted_BV.where(ranks_V < top_k_B.view(-1, 1), 0.0), ids_BV)


def top_p_renorm(probability_BV: torch.Tensor, top_p_B: torch.Tensor) -> torch.Tensor:
    """The likeliest tokens of each row whose sum reaches p, with a sum of 1; the others 0, [B, V].

    A token is among them where the sum of the likelier ones is at most p, as in SGLang's sampler.
    """
    sorted_BV, ids_BV = probability_BV.sort(dim=-1, descending=True, stable=True)
    likelier_BV = sorted_BV.cumsum(dim=-1) - sorted_BV
    return _normalised(sorted_BV.where(likelier_BV <= top_p_B.view(-1, 1), 0.0), ids_BV)


def _normalised(sorted_BV: torch.Tensor, ids_BV: torch.Tensor) -> torch.Tensor:
    scaled_BV = sorted_BV / sorted_BV.sum(dim=-1, keepdim=True)
    return torch.zeros_like(sorted_BV).scatter(1, ids_BV, scaled_BV)
