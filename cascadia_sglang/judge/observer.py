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

from cascadia_kernels import RowStatistics, fold_sampled, row_statistics, row_summary, warm_up
from cascadia_sglang.judge.changed_rows import changed_rows, changes_logits, forced_rows
from cascadia_sglang.judge.hidden import DeviceProbed, HiddenStates, HostProbed
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
    return DeviceObserver(judge, device)


class HostObserver:
    """Without an accelerator: the logits are at hand, so a step is read where it lies."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self.hidden = HiddenStates(judge.probes(), "cpu")

    def is_active(self, sampling_info: "SamplingBatchInfo") -> bool:
        del sampling_info
        return True

    def before_grammar(
        self, logits: torch.Tensor, sampling_info: "SamplingBatchInfo"
    ) -> "HostStep | None":
        try:
            is_left_alone = sampling_info.is_all_greedy and not changes_logits(sampling_info)
            logits_BV = (logits if is_left_alone else logits.clone()).float().numpy()
            forced_B = np.zeros(len(logits_BV), dtype=np.bool_)
            if sampling_info.grammar_mask is not None:
                mask_BW = sampling_info.grammar_mask.vocab_mask
                forced_B = forced_rows(mask_BW, logits.argmax(dim=-1)).numpy()
            probed = self.hidden.probed_on_host(len(logits_BV))
            return HostStep(logits_BV, host_statistics(logits_BV), forced_B, self._judge, probed)
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
            self.hidden.host_from_pp_tensors(tensors),
        )


@dataclass(frozen=True, slots=True)
class HostStep:
    """A step whose logits are in the host's memory."""

    logits_BV: npt.NDArray[np.float32]
    statistics_B4: npt.NDArray[np.float64]
    forced_B: npt.NDArray[np.bool_]
    judge: Judge
    probed: HostProbed | None = None

    def to_pp_tensors(self) -> dict[str, torch.Tensor]:
        """What the first pipeline stage, whose scheduler commits the tokens, needs of the last."""
        return {
            "logits": torch.from_numpy(self.logits_BV),
            "statistics": torch.from_numpy(self.statistics_B4),
            # Not every transport takes bools.
            "forced": torch.from_numpy(self.forced_B.view(np.uint8)),
            **({} if self.probed is None else self.probed.to_pp_tensors()),
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

    def probe_log_odds(self, row: int, tier_index: int) -> float:
        return math.nan if self.probed is None else self.probed.log_odds(row, tier_index)


@dataclass(slots=True)
class _Observed:
    """What `before_grammar` keeps for `after_sample` of the same step."""

    statistics: RowStatistics
    logits_BV: torch.Tensor  # SGLang's buffer, which the sampler overwrites
    temperature_B: torch.Tensor | None
    changed_B: torch.Tensor | None  # rows whose probabilities are not of these logits
    forced_B: torch.Tensor | None  # rows whose likeliest token a grammar does not allow
    probed: DeviceProbed | None


class DeviceObserver:
    """On an accelerator: step values of every row, without a copy of the logits."""

    def __init__(self, judge: Judge, device: str = "cpu") -> None:
        self._judge = judge
        self.hidden = HiddenStates(judge.probes(), device)

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
                top1_ids_B = row_summary(statistics, temperature_B).best_ids_BK[:, 0]
                forced_B = forced_rows(mask_BW, top1_ids_B)
            return _Observed(
                statistics=statistics,
                logits_BV=logits,
                temperature_B=temperature_B,
                changed_B=changed_rows(sampling_info, logits),
                forced_B=forced_B,
                probed=self.hidden.probed_on_device(len(logits)),
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
            return DeviceStep(values, state.forced_B, self._judge, state.probed)
        except Exception as error:  # noqa: BLE001
            self._judge.report_failure(error)
            return None

    def from_pp_tensors(self, tensors: Mapping[str, torch.Tensor]) -> "DeviceStep":
        """The step of another pipeline stage."""
        forced_B = tensors.get("forced")
        forced_B = None if forced_B is None else forced_B.to(torch.bool)
        probed = self.hidden.device_from_pp_tensors(tensors)
        return DeviceStep(tensors["values"], forced_B, self._judge, probed)


@dataclass(frozen=True, slots=True)
class DeviceStep:
    """Step values on the device, copied later by SGLang."""

    values_B5: torch.Tensor
    forced_B: torch.Tensor | None
    judge: Judge
    probed: DeviceProbed | None = None

    def to_pp_tensors(self) -> dict[str, torch.Tensor]:
        """What the first pipeline stage, whose scheduler commits the tokens, needs of the last."""
        tensors = {} if self.probed is None else self.probed.to_pp_tensors()
        if self.forced_B is not None:
            tensors["forced"] = self.forced_B.to(torch.uint8)
        return {**tensors, "values": self.values_B5}

    def copy_to_host(self, copy_tensor: Callable[[torch.Tensor], torch.Tensor]) -> "CopiedStep":
        forced_B = None if self.forced_B is None else copy_tensor(self.forced_B)
        probed = None if self.probed is None else self.probed.copy_to_host(copy_tensor)
        return CopiedStep(copy_tensor(self.values_B5), forced_B, self.judge, probed)


@dataclass(frozen=True, slots=True)
class CopiedStep:
    """Step values in the scheduler."""

    values_B5: torch.Tensor
    forced_B: torch.Tensor | None
    judge: Judge
    probed: DeviceProbed | None = None

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

    def probe_log_odds(self, row: int, tier_index: int) -> float:
        return math.nan if self.probed is None else self.probed.log_odds(row, tier_index)
