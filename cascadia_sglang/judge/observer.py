"""SGLang's sampling observer: hands every decoding step to the judge.

SGLang calls the observer around the sampler, and `consume` of what it returns in the scheduler,
once the step's tokens are committed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from cascadia_kernels import RowStatistics, fold_sampled, row_statistics, warm_up
from cascadia_sglang.judge.host_step import fold_host_step, host_statistics
from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.judge.state import StateRow, StateTable

if TYPE_CHECKING:
    from sglang.srt.managers.auxiliary_output import CommittedTokens
    from sglang.srt.managers.schedule_batch import ScheduleBatch
    from sglang.srt.sampling.sampling_batch_info import SamplingBatchInfo


def build_observer(
    judge: Judge, device: str, columns: int | None = None
) -> "HostObserver | DeviceObserver":
    """The observer for a model runner on this device, its kernels compiled.

    Args:
        columns: the vocabulary that the kernels are compiled for; None to compile at first use.
    """
    if device == "cpu":
        return HostObserver(judge)
    if columns is not None:
        try:
            warm_up(device, columns)
        except Exception as error:  # noqa: BLE001  answers without a score beat no worker
            judge.report_failure(error)
    return DeviceObserver(judge)


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
            return HostStep(logits_BV, host_statistics(logits_BV), self._judge)
        except Exception as error:  # noqa: BLE001  an answer without a score beats no answer
            self._judge.report_failure(error)
            return None

    def after_sample(self, state: "HostStep", token_ids: torch.Tensor) -> "HostStep":
        del token_ids  # the scheduler's commits name them
        return state


@dataclass(frozen=True, slots=True)
class HostStep:
    """A step whose logits are in the host's memory."""

    logits_BV: npt.NDArray[np.float32]
    statistics_B4: npt.NDArray[np.float64]
    judge: Judge

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
        )


@dataclass(slots=True)
class _Observed:
    """What `before_grammar` keeps for `after_sample` of the same step."""

    statistics: RowStatistics
    logits_BV: torch.Tensor  # SGLang's buffer, which the sampler overwrites
    temperature_B: torch.Tensor | None
    changed_B: torch.Tensor | None  # rows whose probabilities are not of these logits


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
            return _Observed(
                statistics=row_statistics(logits, temperature_B),
                logits_BV=logits,
                temperature_B=temperature_B,
                changed_B=_changed_rows(sampling_info, logits),
            )
        except Exception as error:  # noqa: BLE001  an answer without a score beats no answer
            self._judge.report_failure(error)
            return None

    def after_sample(self, state: _Observed, token_ids: torch.Tensor) -> "DeviceStep | None":
        try:
            # Where it sampled, the sampler left its probabilities in the buffer.
            probability_BV = None if state.temperature_B is None else state.logits_BV
            values = fold_sampled(
                state.statistics, token_ids, probability_BV, state.temperature_B, state.changed_B
            )
            return DeviceStep(values, self._judge)
        except Exception as error:  # noqa: BLE001
            self._judge.report_failure(error)
            return None


@dataclass(frozen=True, slots=True)
class DeviceStep:
    """Step values on the device, copied later by SGLang."""

    values_B5: torch.Tensor
    judge: Judge

    def copy_to_host(self, copy_tensor: Callable[[torch.Tensor], torch.Tensor]) -> "CopiedStep":
        return CopiedStep(copy_tensor(self.values_B5), self.judge)


@dataclass(frozen=True, slots=True)
class CopiedStep:
    """Step values in the scheduler."""

    values_B5: torch.Tensor
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
        table.fold(states, self.values_B5.numpy().astype(np.float64)[rows])


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
