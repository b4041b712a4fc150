"""The judge inside a worker: observes every sampling step, rates every answer.

SGLang calls `JudgeObserver` on the device around the sampler, and `HostStepValues.consume` in the
scheduler once the step's tokens are committed. What the judge learns of a request lives on the
request, so retraction, chunked prefill and overlap cannot mix two requests up. A judge that fails
says so once in the log and leaves the answer without a score; it never fails a request.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sglang.srt.managers.schedule_batch import FINISH_ABORT, FINISH_LENGTH

from cascadia_kernels import RowStatistics, fold_sampled, row_statistics
from cascadia_sglang.judge.calibration import ScoreModel, load_calibration
from cascadia_sglang.judge.features import features
from cascadia_sglang.judge.state import FloatArray, StateRow, StateTable
from cascadia_sglang.messages import ATTEMPT_KEY, AttemptOrder, JudgeReport

if TYPE_CHECKING:
    from sglang.srt.managers.auxiliary_output import CommittedTokens
    from sglang.srt.managers.schedule_batch import Req, ScheduleBatch
    from sglang.srt.sampling.sampling_batch_info import SamplingBatchInfo

logger = logging.getLogger(__name__)

# Attribute of SGLang's `Req` that holds its `JudgedAttempt`, or None where it is not judged.
_ATTRIBUTE = "_cascadia_attempt"


@dataclass(slots=True)
class JudgedAttempt:
    """A request under the judge's eye."""

    order: AttemptOrder
    model: ScoreModel
    row: StateRow
    tokens: int = 0
    report: JudgeReport | None = None


class Judge:
    """Scores of one worker: the models of its tiers and the states of its requests."""

    def __init__(self, models: dict[int, ScoreModel]) -> None:
        self._models = models
        self._table = StateTable()
        self._failed = False

    @classmethod
    def from_files(cls, calibrations: dict[int, str]) -> "Judge":
        """Load the calibration file of each judged tier index."""
        return cls(
            {
                tier_index: ScoreModel(load_calibration(Path(path)))
                for tier_index, path in calibrations.items()
            }
        )

    def report_failure(self, error: Exception) -> None:
        """Log the first failure with its trace; answers go without a score."""
        if not self._failed:
            self._failed = True
            logger.error("the judge failed, answers go without a score", exc_info=error)

    def consume(
        self,
        requests: Sequence["Req"],
        commits: Sequence["CommittedTokens | None"],
        values_B5: FloatArray,
    ) -> None:
        """Fold a committed step into its requests; rate those that ended or reached a checkpoint.

        Row i of the values belongs to the i-th request; no commit means no visible token.
        """
        rows: list[int] = []
        attempts: list[JudgedAttempt] = []
        due: list[tuple[Req, JudgedAttempt]] = []
        for index, (request, commit) in enumerate(zip(requests, commits, strict=True)):
            if commit is None:
                continue
            attempt = self._attempt_of(request)
            if attempt is None or attempt.report is not None:
                continue
            rows.append(index)
            attempts.append(attempt)
            attempt.tokens += 1
            if request.finished() or self._is_checkpoint(attempt):
                due.append((request, attempt))
        if rows:
            self._table.fold((attempt.row for attempt in attempts), values_B5[rows])
        if due:
            self._rate(due)

    def reports(self, requests: Sequence["Req"]) -> list[list[dict[str, Any]]]:
        """One list a request: its report where it has ended, else nothing."""
        found: list[list[dict[str, Any]]] = []
        for request in requests:
            attempt: JudgedAttempt | None = getattr(request, _ATTRIBUTE, None)
            report = attempt.report if attempt is not None and request.finished() else None
            found.append([] if report is None else [report.to_meta()])
        return found

    def _attempt_of(self, request: "Req") -> JudgedAttempt | None:
        try:
            attempt: JudgedAttempt | None = getattr(request, _ATTRIBUTE)
        except AttributeError:
            attempt = self._new_attempt(request.sampling_params.custom_params)
            setattr(request, _ATTRIBUTE, attempt)
        return attempt

    def _new_attempt(self, custom_params: dict[str, Any] | None) -> JudgedAttempt | None:
        params = custom_params.get(ATTEMPT_KEY) if custom_params else None
        model = self._models.get(params["tier_index"]) if params else None
        if params is None or model is None:
            return None
        return JudgedAttempt(AttemptOrder(**params), model, self._table.new_row())

    @staticmethod
    def _is_checkpoint(attempt: JudgedAttempt) -> bool:
        return attempt.order.early_abort is not None and attempt.model.has_checkpoint(
            attempt.tokens
        )

    def _rate(self, due: list[tuple["Req", JudgedAttempt]]) -> None:
        previous = [attempt.order.previous_score for _, attempt in due]
        rows_F = features(
            self._table.states(attempt.row for _, attempt in due),
            np.array([float(len(request.origin_input_ids)) for request, _ in due]),
            np.array([float(_is_truncated(request)) for request, _ in due]),
            np.array([np.nan if score is None else score for score in previous]),
        )
        for (request, attempt), features_F in zip(due, rows_F, strict=True):
            if request.finished():
                score = attempt.model.score(features_F)
                finite = score if math.isfinite(score) else None
                attempt.report = JudgeReport(score=finite, early_abort=False)
            else:
                self._end_if_hopeless(request, attempt, features_F)

    @staticmethod
    def _end_if_hopeless(request: "Req", attempt: JudgedAttempt, features_F: FloatArray) -> None:
        order = attempt.order
        chance = attempt.model.chance_of_acceptance(attempt.tokens, features_F, order.threshold)
        if order.early_abort is not None and chance < order.early_abort:
            attempt.report = JudgeReport(score=chance, early_abort=True)
            request.to_finish = FINISH_ABORT("ended by the judge: unlikely to be accepted")


@dataclass(slots=True)
class _Observed:
    """What `before_grammar` keeps for `after_sample` of the same step."""

    statistics: RowStatistics
    logits_BV: torch.Tensor  # SGLang's buffer, which the sampler overwrites
    temperature_B: torch.Tensor | None
    changed_B: torch.Tensor | None  # rows whose probabilities are not of these logits


class JudgeObserver:
    """SGLang's sampling observer: step values of every row, without a copy of the logits."""

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

    def after_sample(self, state: _Observed, token_ids: torch.Tensor) -> "DeviceStepValues | None":
        try:
            probability_B = None
            if state.temperature_B is not None:
                ids_B1 = token_ids.to(torch.int64).unsqueeze(-1)
                probability_B = state.logits_BV.gather(-1, ids_B1).squeeze(-1)
                if state.changed_B is not None:
                    probability_B.masked_fill_(state.changed_B, math.nan)
            values = fold_sampled(state.statistics, token_ids, probability_B, state.temperature_B)
            return DeviceStepValues(values, self._judge)
        except Exception as error:  # noqa: BLE001
            self._judge.report_failure(error)
            return None


@dataclass(frozen=True, slots=True)
class DeviceStepValues:
    """Step values on the device, copied later by SGLang."""

    values_B5: torch.Tensor
    judge: Judge

    def copy_to_host(self, copy_tensor: Callable[[torch.Tensor], torch.Tensor]) -> "HostStepValues":
        return HostStepValues(copy_tensor(self.values_B5), self.judge)


@dataclass(frozen=True, slots=True)
class HostStepValues:
    """Step values in the scheduler."""

    values_B5: torch.Tensor
    judge: Judge

    def consume(self, batch: "ScheduleBatch", commits: Sequence["CommittedTokens | None"]) -> None:
        try:
            self.judge.consume(batch.reqs, commits, self.values_B5.numpy().astype(np.float64))
        except Exception as error:  # noqa: BLE001
            self.judge.report_failure(error)


def _changed_rows(
    sampling_info: "SamplingBatchInfo", logits_BV: torch.Tensor
) -> torch.Tensor | None:
    """Rows that a grammar, bias or processor of their own changes before the sampler, [B] bool.

    Row by row, so that what a request asks for does not change its neighbours' step values. None
    where no request of the batch asks for any.
    """
    has_grammar = sampling_info.grammar_mask is not None
    has_bias = sampling_info.logit_bias is not None
    has_processor = sampling_info.has_custom_logit_processor
    if not (has_grammar or has_bias or has_processor):
        return None
    changed_B = torch.zeros(len(logits_BV), dtype=torch.bool, device=logits_BV.device)
    if has_grammar:
        rows = [row for row, grammar in enumerate(sampling_info.grammars) if grammar]
        changed_B[rows] = True
    if has_bias:
        changed_B |= (sampling_info.logit_bias != 0).any(dim=-1)
    if has_processor:
        for entry in sampling_info.custom_logit_processor.values():
            changed_B[entry.indices] = True
    return changed_B


def _is_truncated(request: "Req") -> bool:
    return isinstance(request.finished_reason, FINISH_LENGTH)
