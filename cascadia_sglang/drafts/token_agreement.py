"""How far drafts agree with the logits of the forward that read them.

On an accelerator a comparison returns before it is computed. The device chooses the logits for a
request's next token; only `Comparison.results` waits.

Shape legend: n places of all drafts, one after the other; G drafts; V vocabulary; D step values.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from cascadia_kernels.verify_draft import verify_draft
from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.drafts.device_copies import HostCopy, to_device


@dataclass(frozen=True, slots=True)
class DraftPlaces:
    """Places of some drafts on the device of the logits; each draft has at least one place.

    Attributes:
        rows_n: of the hidden states that predict the places.
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


def upload(
    rows: Sequence[range], drafts: Sequence[Sequence[int]], device: torch.device
) -> DraftPlaces:
    """Copy places to a device, in one copy.

    Args:
        rows: of the hidden states, one range per draft.
        drafts: their tokens there.
    """
    sizes = tuple(map(len, drafts))
    starts = [0, *itertools.accumulate(sizes)]
    chained = itertools.chain.from_iterable
    rows_n, token_ids_n, starts_H, last_G = to_device(
        ([*chained(rows)], [*chained(drafts)], starts, [size - 1 for size in sizes]), device
    )
    return DraftPlaces(sizes, rows_n, token_ids_n, starts_H[:-1], last_G, starts_H)


@dataclass(frozen=True, slots=True)
class ComparedDraft:
    """The result of comparing some places of a draft.

    Attributes:
        agreed: number of leading places that hold the likeliest token.
        preferred: the likeliest token at the next place; None where all places agree.
        values_nD: step values of the draft's tokens, float64; None where they were not computed.
    """

    agreed: int
    preferred: int | None
    values_nD: FloatArray | None


class Comparison:
    """A comparison of drafts with logits, computed or under way.

    Attributes:
        next_logits_GV: per draft, at the first place that disagrees, or at the last one.
    """

    def __init__(
        self, next_logits_GV: torch.Tensor, compared: "list[ComparedDraft] | _PendingResults"
    ) -> None:
        self.next_logits_GV = next_logits_GV
        self._compared = compared

    def results(self) -> list[ComparedDraft]:
        """One result per draft; waits for an accelerator."""
        if isinstance(self._compared, _PendingResults):
            self._compared = self._compared.results()
        return self._compared


# Step values of a draft's tokens from float32 logits [n, V] and token ids [n].
HostValues = Callable[[npt.NDArray[np.float32], npt.NDArray[np.int64]], FloatArray | None]


def compare(
    logits_nV: torch.Tensor, places: DraftPlaces, host_values: HostValues | None = None
) -> Comparison:
    """Compare drafts with the logits at their places.

    Args:
        host_values: computes step values of logits in the host's memory; None for no values. An
            accelerator always computes them: they cost nothing extra there.
    """
    on_host = logits_nV.device.type == "cpu"
    return _on_host(logits_nV, places, host_values) if on_host else _on_device(logits_nV, places)


def _on_host(
    logits_nV: torch.Tensor, places: DraftPlaces, host_values: HostValues | None
) -> Comparison:
    preferred_n = logits_nV.argmax(dim=-1)
    differs_n = preferred_n != places.token_ids_n
    values_nD: FloatArray | None = None
    if host_values is not None:
        values_nD = host_values(logits_nV.float().numpy(), places.token_ids_n.numpy())
    compared, next_rows = [], []
    starts = itertools.accumulate(places.sizes, initial=0)
    for start, size in zip(starts, places.sizes, strict=False):
        diverged = differs_n[start : start + size].nonzero()
        agreed = int(diverged[0]) if len(diverged) else size
        preferred = int(preferred_n[start + agreed]) if len(diverged) else None
        next_rows.append(start + min(agreed, size - 1))
        values_of_draft = None if values_nD is None else values_nD[start : start + size]
        compared.append(ComparedDraft(agreed, preferred, values_of_draft))
    return Comparison(logits_nV[next_rows], compared)


@dataclass(frozen=True, slots=True)
class _PendingResults:
    """Results that the device is computing, in one copy: n values, G counts, G tokens."""

    copy: HostCopy
    sizes: tuple[int, ...]
    columns: int

    def results(self) -> list[ComparedDraft]:
        packed = self.copy.wait().numpy()
        drafts = len(self.sizes)
        values, agreed, preferred = np.split(packed, [-2 * drafts, -drafts])
        values_nD = values.view(np.float32).reshape(-1, self.columns).astype(np.float64)
        parts = np.split(values_nD, np.cumsum(self.sizes)[:-1])
        return [
            ComparedDraft(count, None if count == size else token, part)
            for part, size, count, token in zip(
                parts, self.sizes, agreed.tolist(), preferred.tolist(), strict=True
            )
        ]


def _on_device(logits_nV: torch.Tensor, places: DraftPlaces) -> Comparison:
    agreement = verify_draft(logits_nV, places.token_ids_n, places.starts_H)
    next_rows_G = places.starts_G + torch.minimum(agreement.agreed_G, places.last_G)
    counts = torch.cat((agreement.agreed_G, agreement.preferred_G)).to(torch.int32)
    packed = torch.cat((agreement.values_ND.flatten().view(torch.int32), counts))
    on_the_way = _PendingResults(HostCopy(packed), places.sizes, agreement.values_ND.shape[1])
    return Comparison(logits_nV.index_select(0, next_rows_G), on_the_way)
