"""Which rows of a step something of a request's own changes, and their logits from before.

A grammar, a bias, a logit processor or a watermark changes a row's logits after the judge has seen
them, so the sampler's probabilities are not of the logits that the judge rates. Such rows are
copied before the change.

Shape legend: B rows, V vocabulary, W words or bools of a row's grammar mask, C copied rows.
"""

import weakref
from typing import TYPE_CHECKING

import torch

from cascadia_kernels.layout import KeptLogits

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
    """Whether a request of the batch has its logits changed after the judge has seen them."""
    return (
        sampling_info.grammar_mask is not None
        or sampling_info.logit_bias is not None
        or sampling_info.has_custom_logit_processor
        or sampling_info.has_watermark_candidates
    )


class ChangedRows:
    """Copies the changed rows of each step.

    What names them on the device is built once for as long as the same rows of a batch are changed,
    from pinned memory: a step waits for no copy.
    """

    def __init__(self) -> None:
        self._key: tuple[int, tuple[int, ...]] | None = None  # rows of the batch, changed ones
        self._rows_C: torch.Tensor
        self._places_B: torch.Tensor
        self._bias: weakref.ref[torch.Tensor] | None = None
        self._bias_key: tuple[int, tuple[int, ...]] | None = None
        self._bias_places_B: torch.Tensor

    def keep(
        self, sampling_info: "SamplingBatchInfo", logits_BV: torch.Tensor
    ) -> KeptLogits | None:
        """Copies of the rows that will be changed; None where no request of the batch asks for it.

        Row by row, so that what a request asks for does not change its neighbours' step values.
        Which rows have a bias is known on the device alone: then all rows are copied, and those
        with one are named.
        """
        if not changes_logits(sampling_info):
            return None
        key = (len(logits_BV), tuple(sorted(_rows_known_to_the_host(sampling_info))))
        if key != self._key:
            self._name_rows(key, logits_BV.device)
        if sampling_info.logit_bias is None:
            return KeptLogits(logits_BV.index_select(0, self._rows_C), self._places_B)
        bias = sampling_info.logit_bias
        if self._bias is None or self._bias() is not bias or self._bias_key != key:
            self._name_biased_rows(key, bias)
        return KeptLogits(logits_BV.clone(), self._bias_places_B)

    def _name_rows(self, key: tuple[int, tuple[int, ...]], device: torch.device) -> None:
        count, rows = key
        places = [-1] * count
        for index, row in enumerate(rows):
            places[row] = index
        self._rows_C = _to_device(rows, torch.int64, device)
        self._places_B = _to_device(places, torch.int32, device)
        self._key = key

    def _name_biased_rows(self, key: tuple[int, tuple[int, ...]], bias_BV: torch.Tensor) -> None:
        is_changed_B = (bias_BV != 0).any(dim=-1) | (self._places_B >= 0)
        every_B = torch.arange(key[0], dtype=torch.int32, device=bias_BV.device)
        self._bias_places_B = every_B.where(is_changed_B, -1)
        self._bias, self._bias_key = weakref.ref(bias_BV), key


def _rows_known_to_the_host(sampling_info: "SamplingBatchInfo") -> set[int]:
    rows: set[int] = set()
    if sampling_info.grammar_mask is not None:
        rows.update(row for row, grammar in enumerate(sampling_info.grammars) if grammar)
    if sampling_info.has_custom_logit_processor:
        for entry in sampling_info.custom_logit_processor.values():
            rows.update(entry.rows)
    if sampling_info.has_watermark_candidates:
        candidates = sampling_info.watermark_candidates_host
        rows.update(row for row, is_candidate in enumerate(candidates) if is_candidate)
    return rows


def _to_device(
    values: tuple[int, ...] | list[int], dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    is_pinned = device.type == "cuda"
    host = torch.tensor(values, dtype=dtype, pin_memory=is_pinned)
    return host.to(device, non_blocking=True)
