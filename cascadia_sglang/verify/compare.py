"""How far drafts agree with the logits of a forward that read them.

On an accelerator a comparison returns before it is computed: the logits that a request's next token
is sampled from are chosen on the device, and `Comparison.results` alone waits.

Shape legend: n places of all drafts, one after the other; G drafts; V vocabulary; D step values.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from cascadia_kernels import verify_draft
from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.verify.transfers import HostCopy, to_device


@dataclass(frozen=True, slots=True)
class Places:
    """Places of drafts, none without a place, where the logits will be.

    Attributes:
        rows_n: of the hidden states, where the places are told.
        token_ids_n: the drafts' tokens there.
        starts_G: the first place of each draft among the n.
        last_G: the number of its last place, counted from its first.
        starts_H: `starts_G`, and n.
    """

    sizes: tuple[int, ...]
    rows_n: torch.Tensor
    token_ids_n: torch.Tensor
    starts_G: torch.Tensor
    last_G: torch.Tensor
    starts_H: torch.Tensor


def upload(rows: Sequence[range], drafts: Sequence[Sequence[int]], device: torch.device) -> Places:
    """Bring places to a device, in one copy.

    Args:
        rows: of the hidden states, a range a draft.
        drafts: their tokens there.
    """
    sizes = tuple(map(len, drafts))
    starts = [0, *itertools.accumulate(sizes)]
    chained = itertools.chain.from_iterable
    rows_n, token_ids_n, starts_H, last_G = to_device(
        ([*chained(rows)], [*chained(drafts)], starts, [size - 1 for size in sizes]), device
    )
    return Places(sizes, rows_n, token_ids_n, starts_H[:-1], last_G, starts_H)


@dataclass(frozen=True, slots=True)
class Compared:
    """What a forward says of some places of a draft.

    Attributes:
        agreed: how many of the first of them hold the likeliest token.
        preferred: the likeliest token at the place after these; None where there is none.
        values_nD: step values of the draft's tokens, float64; None where nobody wants them.
    """

    agreed: int
    preferred: int | None
    values_nD: FloatArray | None


class Comparison:
    """Drafts that were compared with logits, or are being compared.

    Attributes:
        next_logits_GV: of each draft, at the place after those that agree, or at the last one.
    """

    def __init__(
        self, next_logits_GV: torch.Tensor, compared: "list[Compared] | _OnTheWay"
    ) -> None:
        self.next_logits_GV = next_logits_GV
        self._compared = compared

    def results(self) -> list[Compared]:
        """One a draft; waits for the device, where there is one."""
        if isinstance(self._compared, _OnTheWay):
            self._compared = self._compared.results()
        return self._compared


# Step values of a draft's tokens from float32 logits [n, V] and token ids [n].
HostValues = Callable[[npt.NDArray[np.float32], npt.NDArray[np.int64]], FloatArray | None]


def compare(
    logits_nV: torch.Tensor, places: Places, host_values: HostValues | None = None
) -> Comparison:
    """Compare drafts with the logits at their places.

    Args:
        host_values: computes step values where the logits are in the host's memory; None where
            nobody wants them. On an accelerator they cost nothing more.
    """
    on_host = logits_nV.device.type == "cpu"
    return _on_host(logits_nV, places, host_values) if on_host else _on_device(logits_nV, places)


def _on_host(logits_nV: torch.Tensor, places: Places, host_values: HostValues | None) -> Comparison:
    preferred_n = logits_nV.argmax(dim=-1)
    differs_n = preferred_n != places.token_ids_n
    values_nD: FloatArray | None = None
    if host_values is not None:
        values_nD = host_values(logits_nV.float().numpy(), places.token_ids_n.numpy())
    compared, next_rows = [], []
    starts = itertools.accumulate(places.sizes, initial=0)
    for start, size in zip(starts, places.sizes, strict=False):
        parted = differs_n[start : start + size].nonzero()
        agreed = int(parted[0]) if len(parted) else size
        preferred = int(preferred_n[start + agreed]) if len(parted) else None
        next_rows.append(start + min(agreed, size - 1))
        own = None if values_nD is None else values_nD[start : start + size]
        compared.append(Compared(agreed, preferred, own))
    return Comparison(logits_nV[next_rows], compared)


@dataclass(frozen=True, slots=True)
class _OnTheWay:
    """Results that the device still computes, in one copy: n values, G counts, G tokens."""

    copy: HostCopy
    sizes: tuple[int, ...]
    columns: int

    def results(self) -> list[Compared]:
        packed = self.copy.wait().numpy()
        drafts = len(self.sizes)
        values, agreed, preferred = np.split(packed, [-2 * drafts, -drafts])
        values_nD = values.view(np.float32).reshape(-1, self.columns).astype(np.float64)
        parts = np.split(values_nD, np.cumsum(self.sizes)[:-1])
        return [
            Compared(count, None if count == size else own, part)
            for part, size, count, own in zip(
                parts, self.sizes, agreed.tolist(), preferred.tolist(), strict=True
            )
        ]


def _on_device(logits_nV: torch.Tensor, places: Places) -> Comparison:
    found = verify_draft(logits_nV, places.token_ids_n, places.starts_H)
    next_rows_G = places.starts_G + torch.minimum(found.agreed_G, places.last_G)
    counts = torch.cat((found.agreed_G, found.preferred_G)).to(torch.int32)
    packed = torch.cat((found.values_ND.flatten().view(torch.int32), counts))
    on_the_way = _OnTheWay(HostCopy(packed), places.sizes, found.values_ND.shape[1])
    return Comparison(logits_nV.index_select(0, next_rows_G), on_the_way)
