"""How far drafts agree with the logits of a forward that read them.

Shape legend: N places of all drafts, n those of one; V vocabulary; D step values.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from cascadia_kernels import verify_draft


@dataclass(frozen=True, slots=True)
class Compared:
    """What a forward says of some places of a draft.

    Attributes:
        logits_nV: at these places.
        agreed: how many of the first of them hold the likeliest token.
        preferred: the likeliest token at the place after these; None where there is none.
        values_nD: step values of the draft's tokens, float32, on the host; None where the logits
            are there, from which a judge takes more.
    """

    logits_nV: torch.Tensor
    agreed: int
    preferred: int | None
    values_nD: torch.Tensor | None


def compare(logits_NV: torch.Tensor, drafts: Sequence[Sequence[int]]) -> list[Compared]:
    """Compare drafts, one after the other in the rows of the logits.

    Args:
        drafts: token ids, N together.
    """
    on_host = logits_NV.device.type == "cpu"
    told = (_on_host if on_host else _on_device)(logits_NV, drafts)
    parts = logits_NV.split([len(draft) for draft in drafts])
    return [Compared(part, *one) for part, one in zip(parts, told, strict=True)]


def _on_host(
    logits_NV: torch.Tensor, drafts: Sequence[Sequence[int]]
) -> Iterator[tuple[int, int | None, None]]:
    preferred = iter(logits_NV.argmax(dim=-1).tolist())
    for draft in drafts:
        pairs = enumerate(zip(draft, itertools.islice(preferred, len(draft)), strict=True))
        parted = [(place, own) for place, (token, own) in pairs if own != token]
        yield (*(parted[0] if parted else (len(draft), None)), None)


def _on_device(
    logits_NV: torch.Tensor, drafts: Sequence[Sequence[int]]
) -> Iterator[tuple[int, int | None, torch.Tensor]]:
    sizes, device = [len(draft) for draft in drafts], logits_NV.device
    token_ids_N = torch.tensor([*itertools.chain.from_iterable(drafts)], device=device)
    starts_H = torch.tensor([0, *itertools.accumulate(sizes)], device=device)
    told = verify_draft(logits_NV, token_ids_N, starts_H)
    values = told.values_ND.cpu().split(sizes)
    agreed, preferred = told.agreed_G.tolist(), told.preferred_G.tolist()
    for size, values_nD, count, own in zip(sizes, values, agreed, preferred, strict=True):
        yield count, None if count == size else own, values_nD
