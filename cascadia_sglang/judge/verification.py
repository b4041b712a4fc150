"""Speculative decoding: shows the judge the rows of the tokens that a verification accepted.

A verification is one forward over each request's tree of drafts. It leaves a row of logits for
every node, and says which nodes it accepted. The token after an accepted node comes from the node's
row, so these rows are those of a run of ordinary steps.

Shape legend: B nodes of all trees of a batch, V vocabulary, R rows of a step: for each request as
many as the longest path that its tree can have.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cascadia_kernels.row_statistics import row_statistics
from cascadia_kernels.token_values import token_values
from cascadia_sglang.judge.changed_rows import forced_rows
from cascadia_sglang.judge.device_observer import DeviceStep
from cascadia_sglang.judge.failed_step import FailedStep
from cascadia_sglang.judge.host_step import statistics_of_rows
from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.judge.observer import HostStep

if TYPE_CHECKING:
    from sglang.srt.constrained.base_grammar_backend import GrammarMask
    from sglang.srt.layers.logits_processor import LogitsProcessorOutput
    from sglang.srt.managers.schedule_batch import ScheduleBatch
    from sglang.srt.sampling.sampling_batch_info import SamplingBatchInfo

# The token after each node [B], accepted tokens of each request, accepted nodes (-1 after the last)
# by request: what SGLang's `eagle_sample` returns.
Verified = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class VerifyObserver:
    """Shows the judge every verification of one model runner."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def observe(
        self,
        verify: Callable[[], Verified],
        nodes_of_a_tree: int,
        batch: "ScheduleBatch",
        logits_output: "LogitsProcessorOutput",
        grammar_mask: "GrammarMask | None",
    ) -> Verified:
        """Verify a batch, and leave what its accepted rows say in `logits_output`.

        Args:
            verify: SGLang's own verification. It changes the logits by penalties, biases, grammars
                and watermarks, in place.
        """
        # Graph runners use the same object again: what it held before is of another step.
        logits_output.auxiliary_device_output = None
        if batch.forward_mode.is_idle():
            return verify()
        logits_BV = self._kept_logits(
            logits_output.next_token_logits, nodes_of_a_tree, batch.sampling_info, grammar_mask
        )
        verified = verify()
        logits_output.auxiliary_device_output = self._step(logits_BV, verified, grammar_mask)
        return verified

    def _kept_logits(
        self,
        logits_BV: torch.Tensor,
        nodes_of_a_tree: int,
        sampling_info: "SamplingBatchInfo",
        grammar_mask: "GrammarMask | None",
    ) -> torch.Tensor | None:
        """The logits that the judge rates: after penalties, before anything else.

        A copy where SGLang goes on to change them; None where the judge fails.
        """
        try:
            is_changed = (
                grammar_mask is not None
                or sampling_info.logit_bias is not None
                or sampling_info.has_watermark_candidates
            )
            if not is_changed:
                return logits_BV
            kept_BV = logits_BV.clone()
            _penalise(kept_BV, nodes_of_a_tree, sampling_info)
            return kept_BV
        except Exception as error:  # noqa: BLE001  an answer without a score beats no answer
            self._judge.report_failure(error)
            return None

    def _step(
        self,
        logits_BV: torch.Tensor | None,
        verified: Verified,
        grammar_mask: "GrammarMask | None",
    ) -> HostStep | DeviceStep | FailedStep:
        if logits_BV is None:
            return FailedStep(self._judge)
        try:
            token_ids_B, _, accepted = verified
            mask_BW = None if grammar_mask is None else grammar_mask.vocab_mask
            step = _host_step if logits_BV.device.type == "cpu" else _device_step
            return step(self._judge, logits_BV, token_ids_B, accepted, mask_BW)
        except Exception as error:  # noqa: BLE001
            self._judge.report_failure(error)
            return FailedStep(self._judge)


def _host_step(
    judge: Judge,
    logits_BV: torch.Tensor,
    token_ids_B: torch.Tensor,
    accepted: torch.Tensor,
    mask_BW: torch.Tensor | None,
) -> HostStep:
    del token_ids_B  # the scheduler's commits name them
    nodes_R = accepted.flatten().to(torch.int64).numpy()
    forced_B = np.zeros(len(logits_BV), dtype=np.bool_)
    if mask_BW is not None:
        forced_B = forced_rows(mask_BW, logits_BV.argmax(dim=-1)).numpy()
    host_BV = logits_BV.float().numpy()
    return HostStep(
        host_BV,
        statistics_of_rows(host_BV, nodes_R),
        forced_B,
        judge,
        width=accepted.shape[1],
        nodes_R=nodes_R,
    )


def _device_step(
    judge: Judge,
    logits_BV: torch.Tensor,
    token_ids_B: torch.Tensor,
    accepted: torch.Tensor,
    mask_BW: torch.Tensor | None,
) -> DeviceStep:
    rows_R = accepted.flatten()
    statistics = row_statistics(logits_BV, rows_R=rows_R)
    values_R5, preferred_R = token_values(statistics, logits_BV, token_ids_B, rows_R)
    forced_R = None
    if mask_BW is not None:
        mask_RW = mask_BW.index_select(0, rows_R.clamp(min=0).long())
        forced_R = forced_rows(mask_RW, preferred_R.clamp(min=0))
    return DeviceStep(values_R5, forced_R, judge, width=accepted.shape[1])


def _penalise(
    logits_BV: torch.Tensor, nodes_of_a_tree: int, sampling_info: "SamplingBatchInfo"
) -> None:
    """Apply a batch's penalties to its trees in place, as SGLang's verification does."""

    def of_nodes(of_requests: torch.Tensor) -> torch.Tensor:
        return of_requests.repeat_interleave(nodes_of_a_tree, dim=0)

    additive: Any = sampling_info.acc_additive_penalties
    if additive is not None:
        logits_BV.add_(of_nodes(additive))
    scaling: Any = sampling_info.acc_scaling_penalties
    if scaling is not None:
        from sglang.srt.sampling.penaltylib.repetition_penalty import apply_scaling_penalties

        apply_scaling_penalties(logits_BV, of_nodes(scaling))
