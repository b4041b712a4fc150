"""The sampling observer on an accelerator: step values of every row, without a copy of the logits.

One launch reads the logits before the sampler overwrites them, one more finds what they say of the
sampled token. SGLang copies the values to the host beside the tokens, where they are folded.

Shape legend: B rows, V vocabulary.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from cascadia_kernels.fold_sampled import fold_sampled
from cascadia_kernels.layout import KeptLogits, RowStatistics
from cascadia_kernels.row_statistics import row_statistics
from cascadia_kernels.row_summary import row_summary
from cascadia_sglang.judge.changed_rows import ChangedRows, forced_rows
from cascadia_sglang.judge.failed_step import FailedStep, is_failed
from cascadia_sglang.judge.hidden import DeviceProbed, HiddenStates
from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.judge.state import NO_ROW, StateTable, fold_step

if TYPE_CHECKING:
    from sglang.srt.managers.auxiliary_output import CommittedTokens
    from sglang.srt.managers.schedule_batch import ScheduleBatch
    from sglang.srt.sampling.sampling_batch_info import SamplingBatchInfo


@dataclass(slots=True)
class _Observation:
    """What `before_grammar` keeps for `after_sample` of the same step."""

    statistics: RowStatistics
    logits_BV: torch.Tensor  # SGLang's buffer, which the sampler overwrites
    temperature_B: torch.Tensor | None
    kept_logits: KeptLogits | None  # rows whose probabilities are not of these logits
    forced_B: torch.Tensor | None  # rows whose likeliest token a grammar does not allow
    probed: DeviceProbed | None


class DeviceObserver:
    """Shows the judge every step of one model runner."""

    def __init__(self, judge: Judge, device: str = "cpu") -> None:
        self._judge = judge
        self.hidden = HiddenStates(judge.probes(), device, records=judge.records_hidden)
        self._changed_rows = ChangedRows()

    def is_active(self, sampling_info: "SamplingBatchInfo") -> bool:
        del sampling_info
        return True

    def before_grammar(
        self, logits: torch.Tensor, sampling_info: "SamplingBatchInfo"
    ) -> _Observation | FailedStep:
        try:
            temperature_B = None
            if not sampling_info.is_all_greedy:
                temperature_B = sampling_info.temperatures.flatten()
            statistics = row_statistics(logits, temperature_B)
            forced_B = None
            if sampling_info.grammar_mask is not None:
                mask_BW = sampling_info.grammar_mask.vocab_mask
                top1_ids_B = row_summary(statistics, temperature_B).best_ids_B
                forced_B = forced_rows(mask_BW, top1_ids_B)
            return _Observation(
                statistics=statistics,
                logits_BV=logits,
                temperature_B=temperature_B,
                kept_logits=self._changed_rows.keep(sampling_info, logits),
                forced_B=forced_B,
                probed=self.hidden.probed_on_device(len(logits)),
            )
        except Exception as error:  # noqa: BLE001  an answer without a score beats no answer
            self._judge.report_failure(error)
            return FailedStep(self._judge)

    def after_sample(
        self, state: _Observation | FailedStep, token_ids: torch.Tensor
    ) -> "DeviceStep | FailedStep":
        if isinstance(state, FailedStep):
            return state
        try:
            # Where it sampled, the sampler left its probabilities in the buffer.
            probability_BV = None if state.temperature_B is None else state.logits_BV
            values = fold_sampled(
                state.statistics, token_ids, probability_BV, state.temperature_B, state.kept_logits
            )
            return DeviceStep(values, state.forced_B, self._judge, state.probed)
        except Exception as error:  # noqa: BLE001
            self._judge.report_failure(error)
            return FailedStep(self._judge)

    def from_pp_tensors(self, tensors: Mapping[str, torch.Tensor]) -> "DeviceStep | FailedStep":
        """The step of another pipeline stage."""
        if is_failed(tensors):
            return FailedStep(self._judge)
        forced_B = tensors.get("forced")
        forced_B = None if forced_B is None else forced_B.to(torch.bool)
        probed = self.hidden.device_from_pp_tensors(tensors)
        return DeviceStep(tensors["values"], forced_B, self._judge, probed)


@dataclass(frozen=True, slots=True)
class DeviceStep:
    """Step values on the device, copied later by SGLang; `width` rows of a request."""

    values_B5: torch.Tensor
    forced_B: torch.Tensor | None
    judge: Judge
    probed: DeviceProbed | None = None
    width: int = 1

    def to_pp_tensors(self) -> dict[str, torch.Tensor]:
        """What the first pipeline stage, whose scheduler commits the tokens, needs of the last."""
        tensors = {} if self.probed is None else self.probed.to_pp_tensors()
        if self.forced_B is not None:
            tensors["forced"] = self.forced_B.to(torch.uint8)
        return {**tensors, "values": self.values_B5}

    def copy_to_host(self, copy_tensor: Callable[[torch.Tensor], torch.Tensor]) -> "CopiedStep":
        forced_B = None if self.forced_B is None else copy_tensor(self.forced_B)
        probed = None if self.probed is None else self.probed.copy_to_host(copy_tensor)
        return CopiedStep(copy_tensor(self.values_B5), forced_B, self.judge, probed, self.width)


@dataclass(frozen=True, slots=True)
class CopiedStep:
    """Step values in the scheduler; `width` rows of a request."""

    values_B5: torch.Tensor
    forced_B: torch.Tensor | None
    judge: Judge
    probed: DeviceProbed | None = None
    width: int = 1

    def consume(self, batch: "ScheduleBatch", commits: Sequence["CommittedTokens | None"]) -> None:
        self.judge.consume(batch.reqs, commits, self)

    def fold(
        self, table: StateTable, states: list[int], rows: list[int], token_ids: list[int]
    ) -> None:
        del token_ids  # their log-probabilities are among the values
        forced_B = NO_ROW if self.forced_B is None else self.forced_B.numpy()
        fold_step(
            table.states_NS, np.array(states), np.array(rows), self.values_B5.numpy(), forced_B
        )

    def probe_log_odds(self, row: int, tier_index: int) -> float:
        return math.nan if self.probed is None else self.probed.log_odds(row, tier_index)

    def hidden_state(self, row: int) -> bytes | None:
        return None if self.probed is None else self.probed.state(row)
