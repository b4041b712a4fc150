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

from cascadia_kernels.self_test import self_test
from cascadia_kernels.warm_up import warm_up
from cascadia_sglang.errors import WorkerError
from cascadia_sglang.judge.changed_rows import changes_logits, forced_rows
from cascadia_sglang.judge.device_observer import DeviceObserver
from cascadia_sglang.judge.failed_step import FailedStep, is_failed
from cascadia_sglang.judge.hidden import HiddenStates, HostProbed
from cascadia_sglang.judge.host_step import fold_host_step, host_statistics
from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.judge.self_test import self_test_host_step
from cascadia_sglang.judge.state import StateTable

if TYPE_CHECKING:
    from sglang.srt.managers.auxiliary_output import CommittedTokens
    from sglang.srt.managers.schedule_batch import ScheduleBatch
    from sglang.srt.sampling.sampling_batch_info import SamplingBatchInfo


def build_observer(
    judge: Judge,
    device: str,
    columns: int | None = None,
    hidden_dtype: torch.dtype = torch.bfloat16,
    *,
    speculates: bool = False,
) -> "HostObserver | DeviceObserver":
    """The observer for a model runner on this device, compiled and compared with float64.

    Args:
        columns: the vocabulary that the kernels are compiled for; None to compile at first use,
            untested.
        hidden_dtype: of the hidden states that a probe reads.
        speculates: whether the runner decodes speculatively.

    Raises:
        WorkerError: one line: the judge does not compile here, or gives wrong numbers. Without it
            every answer would go without a score, and on to the largest tier.
    """
    try:
        if device == "cpu":
            self_test_host_step()
            return HostObserver(judge)
        observer = DeviceObserver(judge, device)
        if columns is not None:
            probes = observer.hidden.weights
            warm_up(
                device, columns, probes=probes, hidden_dtype=hidden_dtype, speculates=speculates
            )
            self_test(device, columns, probes, hidden_dtype)
        return observer
    except Exception as error:  # a compiler and a driver raise errors of any kind
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise WorkerError(f"the judge cannot run on {device}: {reason}") from error


class HostObserver:
    """Without an accelerator: the logits are at hand, so a step is read where it lies."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self.hidden = HiddenStates(judge.probes(), "cpu", records=judge.records_hidden)

    def is_active(self, sampling_info: "SamplingBatchInfo") -> bool:
        del sampling_info
        return True

    def before_grammar(
        self, logits: torch.Tensor, sampling_info: "SamplingBatchInfo"
    ) -> "HostStep | FailedStep":
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
            return FailedStep(self._judge)

    def after_sample(
        self, state: "HostStep | FailedStep", token_ids: torch.Tensor
    ) -> "HostStep | FailedStep":
        del token_ids  # the scheduler's commits name them
        return state

    def from_pp_tensors(self, tensors: Mapping[str, torch.Tensor]) -> "HostStep | FailedStep":
        """The step of another pipeline stage."""
        if is_failed(tensors):
            return FailedStep(self._judge)
        return HostStep(
            tensors["logits"].numpy(),
            tensors["statistics"].numpy(),
            tensors["forced"].numpy().view(np.bool_),
            self._judge,
            self.hidden.host_from_pp_tensors(tensors),
        )


@dataclass(frozen=True, slots=True)
class HostStep:
    """A step whose logits are in the host's memory.

    Attributes:
        width: rows of a request.
        nodes_R: the row of the logits that belongs to each row of the step; None where they are the
            same.
    """

    logits_BV: npt.NDArray[np.float32]
    statistics_B4: npt.NDArray[np.float64]
    forced_B: npt.NDArray[np.bool_]
    judge: Judge
    probed: HostProbed | None = None
    width: int = 1
    nodes_R: npt.NDArray[np.int64] | None = None

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
        self.judge.consume(batch.reqs, commits, self)

    def fold(
        self, table: StateTable, states: list[int], rows: list[int], token_ids: list[int]
    ) -> None:
        row_indices = np.array(rows)
        fold_host_step(
            table.states_NS,
            np.array(states),
            row_indices if self.nodes_R is None else self.nodes_R[row_indices],
            np.array(token_ids),
            self.logits_BV,
            self.statistics_B4,
            self.forced_B,
        )

    def probe_log_odds(self, row: int, tier_index: int) -> float:
        return math.nan if self.probed is None else self.probed.log_odds(row, tier_index)

    def hidden_state(self, row: int) -> bytes | None:
        return None if self.probed is None else self.probed.state(row)
