"""What a model's logits at the places of drafts say of the drafts, in one read of the logits.

The forward over a prompt and a draft gives a row of logits for each place of the draft. Greedy
verification keeps a draft up to the first place at which the row's likeliest token is another
(Leviathan et al., arXiv 2211.17192, at temperature 0).

Shape legend: N places of all drafts, one after the other; G drafts; V vocabulary; D step values.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from cascadia_kernels.device import runs_triton
from cascadia_kernels.row_statistics import row_statistics
from cascadia_kernels.token_values import token_values
from cascadia_kernels.torch_forms import first_disagreements_torch

PLACES_AT_ONCE = 256  # places that a program of a draft compares at once


class DraftAgreement(NamedTuple):
    """How far drafts agree with a model, and what the model says of each of their tokens."""

    values_ND: torch.Tensor  # float32, STEP_VALUES of the draft's token at every place
    preferred_N: torch.Tensor  # int64, the likeliest token there, of equals the lowest id
    agreed_G: torch.Tensor  # int64, places before the first whose preferred token is another
    preferred_G: torch.Tensor  # int64, the preferred token at that place; -1 where all agree


def verify_draft(
    logits_NV: torch.Tensor, token_ids_N: torch.Tensor, starts_H: torch.Tensor
) -> DraftAgreement:
    """Compare drafts with a model's logits at their places.

    Three launches, of which the first alone reads the logits whole. What a row says depends on that
    row alone, bit for bit.

    Args:
        logits_NV: row n is what the model says before the n-th token; any float dtype and strides,
            not modified.
        token_ids_N: of all drafts, one after the other, any integer dtype. The step values of an id
            outside the vocabulary are NaN in `logprob` and 0 in `known`.
        starts_H: H = G + 1, ascending from 0 to N, any integer dtype: draft g has the places from
            `starts_H[g]` to `starts_H[g + 1]`. Not checked, for that would wait for the device.

    Returns:
        Fresh memory of the caching allocator; no drafts, or a draft without places, is allowed.

    Raises:
        ValueError: if a shape does not match.
    """
    if token_ids_N.shape != logits_NV.shape[:1]:
        raise ValueError(
            f"verify_draft takes one token a row, got {list(token_ids_N.shape)} "
            f"for logits {list(logits_NV.shape)}"
        )
    if starts_H.ndim != 1 or len(starts_H) == 0:
        raise ValueError(
            f"verify_draft takes the starts of G drafts and their end, [G + 1], "
            f"got {list(starts_H.shape)}"
        )
    values_ND, preferred_N = token_values(row_statistics(logits_NV), logits_NV, token_ids_N)
    if not runs_triton(logits_NV):
        compared = first_disagreements_torch(preferred_N, token_ids_N, starts_H)
        return DraftAgreement(values_ND, preferred_N, *compared)
    drafts = len(starts_H) - 1
    agreed_G = torch.empty(drafts, dtype=torch.int64, device=logits_NV.device)
    preferred_G = torch.empty(drafts, dtype=torch.int64, device=logits_NV.device)
    if drafts:
        first_disagreements_kernel[(drafts,)](
            preferred_N,
            token_ids_N,
            token_ids_N.stride(0),
            starts_H,
            starts_H.stride(0),
            agreed_G,
            preferred_G,
            BLOCK=PLACES_AT_ONCE,
        )
    return DraftAgreement(values_ND, preferred_N, agreed_G, preferred_G)


@triton.jit
def first_disagreements_kernel(
    preferred_ptr,
    token_ids_ptr,
    token_ids_stride,
    starts_ptr,
    starts_stride,
    agreed_ptr,
    preferred_there_ptr,
    BLOCK: tl.constexpr,
):
    draft = tl.program_id(0).to(tl.int64)
    first = tl.load(starts_ptr + draft * starts_stride).to(tl.int64)
    end = tl.load(starts_ptr + (draft + 1) * starts_stride).to(tl.int64)
    parted = end
    start = first
    while start < parted:
        position = start + tl.arange(0, BLOCK)
        in_draft = position < end
        preferred = tl.load(preferred_ptr + position, mask=in_draft, other=0)
        token = tl.load(token_ids_ptr + position * token_ids_stride, mask=in_draft, other=0)
        differs = in_draft & (preferred != token.to(tl.int64))
        parted = tl.minimum(parted, tl.min(tl.where(differs, position, end), axis=0))
        start += BLOCK
    there = tl.load(preferred_ptr + parted, mask=parted < end, other=-1)
    tl.store(agreed_ptr + draft, parted - first)
    tl.store(preferred_there_ptr + draft, there)
