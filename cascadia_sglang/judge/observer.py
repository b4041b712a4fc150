"""SGLang's sampling observer: hands every decoding step to the judge.

SGLang calls the observer around the sampler, and `consume` of what it returns in the scheduler,
once the step's tokens are committed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from cascadia_kernels import RowStatistics, fold_sampled, row_statistics
from cascadia_sglang.judge.host_step import fold_host_step, host_statistics
from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.judge.state import StateRow, StateTable

if TYPE_CHECKING:
    from sglang.srt.managers.auxiliary_output import CommittedTokens
    from sglang.srt.managers.schedule_batch import ScheduleBatch
    from sglang.srt.sampling.sampling_batch_info import SamplingBatchInfo


def build_observer(judge: Judge, device: str) -> "HostObserver | DeviceObserver":
    """The observer for a model runner on this device."""
    return HostObserver(judge) if device == "cpu" else DeviceObserver(judge)


class HostObserver:
    """Without an accelerator: the logits are at hand, so a step is read where it lies."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def is_active(self, sampling_info: "SamplingBatchInfo") -> bool:
        del sampling_info
        return True

    def before_grammar(
        self, logits: torch.Tensor, sampling_info: "SamplingBatchInfo"
    ) -> "HostStep | None":
        try:
            is_left_alone = sampling_info.is_all_greedy and not _changes_logits(sampling_info)
            logits_BV = (logits if is_left_alone else logits.clone()).float().numpy()
            forced_B = np.zeros(len(logits_BV), dtype=np.bool_)
            if sampling_info.grammar_mask is not None:
                mask_BW = sampling_info.grammar_mask.vocab_mask
                forced_B = forced_rows(mask_BW, logits.argmax(dim=-1)).numpy()
            return HostStep(logits_BV, host_statistics(logits_BV), forced_B, self._judge)
        except Exception as error:  # noqa: BLE001  an answer without a score beats no answer
            self._judge.report_failure(error)
            return None

    def after_sample(self, state: "HostStep", token_ids: torch.Tensor) -> "HostStep":
        del token_ids  # the scheduler's commits name them
        return state

    def from_pp_tensors(self, tensors: Mapping[str, torch.Tensor]) -> "HostStep":
        """The step of another pipeline stage."""
        return HostStep(
            tensors["logits"].numpy(),
            tensors["statistics"].numpy(),
            tensors["forced"].numpy().view(np.bool_),
            self._judge,
        )


@dataclass(frozen=True, slots=True)
class HostStep:
    """A step whose logits are in the host's memory."""

    logits_BV: npt.NDArray[np.float32]
    statistics_B4: npt.NDArray[np.float64]
    forced_B: npt.NDArray[np.bool_]
    judge: Judge

    def to_pp_tensors(self) -> dict[str, torch.Tensor]:
        """What the first pipeline stage, whose scheduler commits the tokens, needs of the last."""
        return {
            "logits": torch.from_numpy(self.logits_BV),
            "statistics": torch.from_numpy(self.statistics_B4),
            # Not every transport takes bools.
            "forced": torch.from_numpy(self.forced_B.view(np.uint8)),
        }

    def copy_to_host(self, copy_tensor: Callable[[torch.Tensor], torch.Tensor]) -> "HostStep":
        del copy_tensor
        return self

    def consume(self, batch: "ScheduleBatch", commits: Sequence["CommittedTokens | None"]) -> None:
        try:
            self.judge.consume(batch.reqs, commits, self)
        except Exception as error:  # noqa: BLE001
            self.judge.report_failure(error)

    def fold(
        self, table: StateTable, states: list[StateRow], rows: list[int], token_ids: list[int]
    ) -> None:
        fold_host_step(
            table.states_NS,
            np.array([state.index for state in states]),
            np.array(rows),
            np.array(token_ids),
            self.logits_BV,
            self.statistics_B4,
            self.forced_B,
        )


@dataclass(slots=True)
class _Observed:
    """What `before_grammar` keeps for `after_sample` of the same step."""

    statistics: RowStatistics
    logits_BV: torch.Tensor  # SGLang's buffer, which the sampler overwrites
    temperature_B: torch.Tensor | None
    changed_B: torch.Tensor | None  # rows whose probabilities are not of these logits
    forced_B: torch.Tensor | None  # rows whose likeliest token a grammar does not allow


class DeviceObserver:
    """On an accelerator: step values of every row, without a copy of the logits."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def is_active(self, sampling_info: "SamplingBatchInfo") -> bool:
        del sampling_info
        return True

    def before_grammar(
        self, logits: torch.Tensor, sampling_info: "SamplingBatchInfo"
    ) -> _Observed | None:
        try:
            temperature_B = None
            if not sampling_info.is_all_greedy:
                temperature_B = sampling_info.temperatures.flatten()
            statistics = row_statistics(logits, temperature_B)
            forced_B = None
            if sampling_info.grammar_mask is not None:
                mask_BW = sampling_info.grammar_mask.vocab_mask
                forced_B = forced_rows(mask_BW, statistics.best_ids_BK[:, 0])
            return _Observed(
                statistics=statistics,
                logits_BV=logits,
                temperature_B=temperature_B,
                changed_B=_changed_rows(sampling_info, logits),
                forced_B=forced_B,
            )
        except Exception as error:  # noqa: BLE001  an answer without a score beats no answer
            self._judge.report_failure(error)
            return None

    def after_sample(self, state: _Observed, token_ids: torch.Tensor) -> "DeviceStep | None":
        try:
            probability_B = None
            if state.temperature_B is not None:
                ids_B1 = token_ids.to(torch.int64).unsqueeze(-1)
                probability_B = state.logits_BV.gather(-1, ids_B1).squeeze(-1)
                if state.changed_B is not None:
                    probability_B.masked_fill_(state.changed_B, math.nan)
            values = fold_sampled(state.statistics, token_ids, probability_B, state.temperature_B)
            return DeviceStep(values, state.forced_B, self._judge)
        except Exception as error:  # noqa: BLE001
            self._judge.report_failure(error)
            return None

    def from_pp_tensors(self, tensors: Mapping[str, torch.Tensor]) -> "DeviceStep":
        """The step of another pipeline stage."""
        forced_B = tensors.get("forced")
        forced_B = None if forced_B is None else forced_B.to(torch.bool)
        return DeviceStep(tensors["values"], forced_B, self._judge)


@dataclass(frozen=True, slots=True)
class DeviceStep:
    """Step values on the device, copied later by SGLang."""

    values_B5: torch.Tensor
    forced_B: torch.Tensor | None
    judge: Judge

    def to_pp_tensors(self) -> dict[str, torch.Tensor]:
        """What the first pipeline stage, whose scheduler commits the tokens, needs of the last."""
        if self.forced_B is None:
            return {"values": self.values_B5}
        return {"values": self.values_B5, "forced": self.forced_B.to(torch.uint8)}

    def copy_to_host(self, copy_tensor: Callable[[torch.Tensor], torch.Tensor]) -> "CopiedStep":
        forced_B = None if self.forced_B is None else copy_tensor(self.forced_B)
        return CopiedStep(copy_tensor(self.values_B5), forced_B, self.judge)


@dataclass(frozen=True, slots=True)
class CopiedStep:
    """Step values in the scheduler."""

    values_B5: torch.Tensor
    forced_B: torch.Tensor | None
    judge: Judge

    def consume(self, batch: "ScheduleBatch", commits: Sequence["CommittedTokens | None"]) -> None:
        try:
            self.judge.consume(batch.reqs, commits, self)
        except Exception as error:  # noqa: BLE001
            self.judge.report_failure(error)

    def fold(
        self, table: StateTable, states: list[StateRow], rows: list[int], token_ids: list[int]
    ) -> None:
        del token_ids  # their log-probabilities are among the values
        values = self.values_B5.numpy().astype(np.float64)[rows]
        if self.forced_B is None:
            table.fold(states, values)
            return
        forced = self.forced_B.numpy()[rows]
        table.fold(
            [s for s, is_forced in zip(states, forced, strict=True) if not is_forced],
            values[~forced],
        )
        table.count_forced(s for s, is_forced in zip(states, forced, strict=True) if is_forced)


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


def _changes_logits(sampling_info: "SamplingBatchInfo") -> bool:
    """Whether a request of the batch has its logits changed before the sampler."""
    return (
        sampling_info.grammar_mask is not None
        or sampling_info.logit_bias is not None
        or sampling_info.has_custom_logit_processor
    )


def _changed_rows(
    sampling_info: "SamplingBatchInfo", logits_BV: torch.Tensor
) -> torch.Tensor | None:
    """Rows that a grammar, bias or processor of their own changes before the sampler, [B] bool.

    Row by row, so that what a request asks for does not change its neighbours' step values. None
    where no request of the batch asks for any.
    """
    if not _changes_logits(sampling_info):
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
