"""The judge of one worker: chooses the requests that it rates, and reports their scores.

What the judge learns of a request lives on the request, so retraction, chunked prefill and overlap
cannot mix two requests up. A judge that fails says so once in the log and leaves the answer
without a score; it never fails a request.
"""

import logging
import math
from base64 import b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from sglang.srt.managers.schedule_batch import FINISH_ABORT, FINISH_LENGTH

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.judge.attempt import JudgedAttempt
from cascadia_sglang.judge.calibration import ScoreModel
from cascadia_sglang.judge.draft_step import DraftStep
from cascadia_sglang.judge.features import features_of
from cascadia_sglang.judge.models import ScoreModels, start_models
from cascadia_sglang.judge.probe import Probe
from cascadia_sglang.judge.state import StateTable
from cascadia_sglang.messages import (
    ATTEMPT_KEY,
    CONSTRAINTS,
    EVERY_TOKEN,
    AttemptOrder,
    JudgeReport,
    JudgeSpec,
    Recording,
)
from cascadia_sglang.sglang_state import JUDGED_ATTEMPT

if TYPE_CHECKING:
    from sglang.srt.managers.auxiliary_output import CommittedTokens
    from sglang.srt.managers.schedule_batch import Req
    from sglang.srt.sampling.sampling_params import SamplingParams

logger = logging.getLogger(__name__)

_UNSEEN: Any = object()


class ObservedStep(Protocol):
    """What a decoding step said about the rows of its batch.

    Attributes:
        width: rows of a request, one for each token that the step may give it; 1 without
            speculative decoding. Row `width * i + k` belongs to the k-th token of request i.
    """

    @property
    def width(self) -> int: ...

    def fold(
        self, table: StateTable, states: list[int], rows: list[int], token_ids: list[int]
    ) -> None:
        """Fold rows, and the tokens committed there, into some states."""
        ...

    def probe_log_odds(self, row: int, tier_index: int) -> float:
        """What the tier's probe says of the hidden state at a row; NaN where there is none."""
        ...

    def hidden_state(self, row: int) -> bytes | None:
        """The hidden state at a row, little-endian float16; None where it is not recorded."""
        ...


class _Due(NamedTuple):
    """A request to be rated after a token, and the token's row in the step.

    Attributes:
        is_end: whether the answer ends with the token.
    """

    request: "Req"
    attempt: JudgedAttempt
    row: int
    is_end: bool


class Judge:
    """Scores of one worker: the models of its tiers and the states of its requests."""

    def __init__(
        self,
        models: dict[int, ScoreModel],
        record: Recording = False,
        counts_reasoning: bool = False,
        hidden: frozenset[int] = frozenset(),
    ) -> None:
        """`record` keeps the features on the way of every answer, whether its tier has a model.

        Without it, so does an attempt's own order. `hidden` holds the tier indices whose records
        hold the last hidden state too.
        """
        self._models = ScoreModels(models)
        self._hidden = hidden
        self._record = record
        self._counts_reasoning = counts_reasoning
        self._table = StateTable()
        self._failed = False

    @classmethod
    def from_spec(cls, spec: JudgeSpec) -> "Judge":
        """Load the calibration file of each judged tier index, and the built-in rank."""
        return cls(start_models(spec), spec.record, spec.counts_reasoning, spec.hidden)

    def probes(self) -> dict[int, Probe]:
        """The probe of each tier index whose score counts one."""
        return self._models.probes()

    @property
    def records_hidden(self) -> bool:
        """Whether records of some tier hold a hidden state."""
        return bool(self._hidden)

    @property
    def reads_hidden(self) -> bool:
        """Whether the judge needs the hidden states of each step."""
        return self.records_hidden or bool(self.probes())

    def report_failure(self, error: Exception) -> None:
        """Log the first failure with its trace; answers go without a score."""
        if not self._failed:
            self._failed = True
            logger.error("the judge failed, answers go without a score", exc_info=error)

    def give_up(
        self, requests: Sequence["Req"], commits: Sequence["CommittedTokens | None"]
    ) -> None:
        """Leave the requests that got a token in a step that failed without a score.

        A score of their other tokens would be one of another answer. Reports that are made stay.
        """
        for request, commit in zip(requests, commits, strict=False):
            if commit is None:
                continue
            attempt = JUDGED_ATTEMPT.get(request)
            if attempt is None or attempt.report is None:
                JUDGED_ATTEMPT.set(request, None)

    def consume(
        self,
        requests: Sequence["Req"],
        commits: Sequence["CommittedTokens | None"],
        step: ObservedStep,
    ) -> None:
        """Fold a committed step into its requests; rate those that ended or reached a checkpoint.

        No commit means no visible token. A run of several tokens is folded token by token, so that
        it says the same as steps of one token each.

        Never raises.
        """
        try:
            for position in range(step.width):
                self._consume_token(requests, commits, step, position)
        except Exception as error:  # noqa: BLE001  an answer without a score beats no answer
            self.report_failure(error)
            self.give_up(requests, commits)

    def _consume_token(
        self,
        requests: Sequence["Req"],
        commits: Sequence["CommittedTokens | None"],
        step: ObservedStep,
        position: int,
    ) -> None:
        """Fold the token at one position of every request's run."""
        states: list[int] = []
        rows: list[int] = []
        token_ids: list[int] = []
        due: list[_Due] = []
        counts_all = self._counts_reasoning
        width = step.width
        # Every request passes here at every step: what is asked of all is asked in as few calls as
        # can be.
        attribute = JUDGED_ATTEMPT.name
        for index, (request, commit) in enumerate(zip(requests, commits, strict=True)):
            if commit is None:
                continue
            run = commit.token_ids
            if position and position >= len(run):
                continue
            attempt: JudgedAttempt | None = getattr(request, attribute, _UNSEEN)
            if attempt is _UNSEEN:
                attempt = self._begin(request)
            if attempt is None or attempt.report is not None:
                continue
            # SGLang ends a request with the last token of its run, before this is called.
            is_end = request.finished_reason is not None and position == len(run) - 1
            row = width * index + position
            # It has counted the tokens up to the end of the reasoning, too.
            if counts_all or commit.output_index + position >= request.reasoning_tokens:
                rows.append(row)
                states.append(attempt.row.index)
                token_ids.append(run[position])
                attempt.tokens += 1
                if is_end or attempt.tokens == attempt.checkpoint:
                    due.append(_Due(request, attempt, row, is_end))
            elif is_end:
                due.append(_Due(request, attempt, row, is_end))
        if rows:
            step.fold(self._table, states, rows, token_ids)
        if due:
            self._rate(due, step)

    def fold_draft(self, request: "Req", step: DraftStep | None, token_ids: Sequence[int]) -> None:
        """Fold what a request keeps of a draft, as if it had been decoded.

        Where that fails, the request goes without a score: one of the rest would be wrong.

        Args:
            step: row i of it belongs to the i-th token; None where it was not observed.
        """
        try:
            is_known = JUDGED_ATTEMPT.is_set(request)
            attempt = JUDGED_ATTEMPT.get(request) if is_known else self._begin(request)
            if attempt is None:
                return
            if step is None:
                JUDGED_ATTEMPT.set(request, None)
                return
            step.fold_draft(self._table, attempt.row, token_ids)
            attempt.tokens += len(token_ids)
            attempt.set_checkpoint()
        except Exception as error:  # noqa: BLE001  an answer without a score beats no answer
            self.report_failure(error)
            JUDGED_ATTEMPT.set(request, None)

    def reports(self, requests: Sequence["Req"]) -> list[list[dict[str, Any]]]:
        """One list a request: its report where it has ended, what is known of it before.

        That is said with every output, of which the receiver may merge several.
        """
        reports: list[list[dict[str, Any]]] = []
        for request in requests:
            attempt = JUDGED_ATTEMPT.get(request)
            report = None
            if attempt is not None:
                report = attempt.report if request.finished() else attempt.on_the_way
            reports.append([] if report is None else [report.to_meta()])
        return reports

    def _begin(self, request: "Req") -> JudgedAttempt | None:
        attempt: JudgedAttempt | None = None
        try:
            attempt = self._new_attempt(request.sampling_params)
        except Exception as error:  # noqa: BLE001  the other requests of the batch are judged
            self.report_failure(error)
        JUDGED_ATTEMPT.set(request, attempt)
        return attempt

    def _new_attempt(self, sampling_params: "SamplingParams") -> JudgedAttempt | None:
        custom_params = sampling_params.custom_params
        params = custom_params.get(ATTEMPT_KEY) if custom_params else None
        model = self._models.of(params["tier_index"], params.get("calibration")) if params else None
        if model is not None and not model.judges_constrained and _is_constrained(sampling_params):
            model = None
        if params is None:
            return None
        recording: Recording = params.get("record", False) or self._record
        if model is None and not recording:
            return None
        record: dict[str, Any] | None = {"tokens": [], "features": []} if recording else None
        order = AttemptOrder.from_params(params)
        attempt = JudgedAttempt(
            order,
            model,
            self._table.new_row(),
            record=record,
            records_every_token=recording == EVERY_TOKEN,
        )
        attempt.set_checkpoint()
        return attempt

    def _rate(self, due: list[_Due], step: ObservedStep) -> None:
        answers = [
            (
                attempt.row.index,
                len(request.origin_input_ids),
                is_end and isinstance(request.finished_reason, FINISH_LENGTH),
            )
            for request, attempt, _, is_end in due
        ]
        rows_NF = features_of(self._table.states_NS, np.array(answers))
        ended: dict[ScoreModel, list[int]] = {}
        for index, (request, attempt, row, is_end) in enumerate(due):
            model = attempt.model
            if attempt.record is not None:
                _note(attempt, attempt.record, rows_NF[index])
                if is_end and attempt.order.tier_index in self._hidden:
                    state = step.hidden_state(row)
                    attempt.record["hidden"] = None if state is None else b64encode(state).decode()
            if not is_end:
                if model is not None:
                    self._commit_or_end(request, attempt, model, rows_NF[index])
                attempt.set_checkpoint()
            elif model is None:
                attempt.report = _final_report(attempt, None, None)
            else:
                ended.setdefault(model, []).append(index)
        for model, indices in ended.items():
            endings = [due[index] for index in indices]
            added_n = np.array([_added(model, ending, step) for ending in endings])
            rows_nF = rows_NF if len(indices) == len(due) else rows_NF[indices]
            scores = model.scores(rows_nF, added_n).tolist()
            for index, ending, (score, uncut_score) in zip(indices, endings, scores, strict=True):
                _, _, is_truncated = answers[index]
                uncut = uncut_score if is_truncated else None
                features_F = rows_NF[index] if model.reports_features else None
                ending.attempt.report = _final_report(ending.attempt, score, uncut, features_F)

    @staticmethod
    def _commit_or_end(
        request: "Req", attempt: JudgedAttempt, model: ScoreModel, features_F: FloatArray
    ) -> None:
        order = attempt.order
        if not attempt.is_open or not model.has_checkpoint(attempt.tokens):
            return
        chance = model.chance_of_acceptance(
            attempt.tokens, features_F, order.threshold, order.earlier_scores
        )
        is_due = order.commit_tokens is not None and attempt.tokens >= order.commit_tokens
        if is_due and chance >= order.commit_chance:
            attempt.on_the_way = JudgeReport(score=chance, early_abort=False, committed=True)
        elif order.early_abort is not None and chance < order.early_abort:
            attempt.report = JudgeReport(score=chance, early_abort=True, record=attempt.record)
            # A run may have ended the answer itself, after this token.
            if request.finished_reason is None:
                request.to_finish = FINISH_ABORT("ended by the judge: unlikely to be accepted")
        elif order.tells_chance:
            attempt.on_the_way = JudgeReport(score=chance, early_abort=False)


def _added(model: ScoreModel, ending: _Due, step: ObservedStep) -> float:
    order = ending.attempt.order
    probed = math.nan
    if model.probe is not None:
        probed = step.probe_log_odds(ending.row, order.tier_index)
    return model.added(order.earlier_scores, probed)


def _note(attempt: JudgedAttempt, record: dict[str, Any], features_F: FloatArray) -> None:
    record["tokens"].append(attempt.tokens)
    # As JSON says it: where every step was forced, there is no number.
    record["features"].append([x if math.isfinite(x) else None for x in features_F.tolist()])


def _final_report(
    attempt: JudgedAttempt,
    score: float | None,
    uncut_score: float | None,
    features_F: FloatArray | None = None,
) -> JudgeReport:
    is_known = score is not None and math.isfinite(score)
    return JudgeReport(
        score=score if is_known else None,
        early_abort=False,
        uncut_score=uncut_score if uncut_score is not None and math.isfinite(uncut_score) else None,
        record=attempt.record,
        committed=attempt.is_committed,
        # A score is finite where all features are.
        features=None if features_F is None or not is_known else features_F.tolist(),
    )


def _is_constrained(sampling_params: "SamplingParams") -> bool:
    for key in CONSTRAINTS:  # noqa: SIM110  a generator takes as long as the four look-ups
        if getattr(sampling_params, key, None):
            return True
    return False
