"""The judge of one worker: chooses the requests that it rates, and follows their tokens.

What the judge learns of a request lives on the request, so retraction, chunked prefill and overlap
cannot mix two requests up. A judge that fails says so once in the log and leaves the answer
without a score; it never fails a request.
"""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cascadia_sglang.judge.attempt import JudgedAttempt
from cascadia_sglang.judge.calibration import ScoreModel
from cascadia_sglang.judge.draft_step import DraftStep
from cascadia_sglang.judge.models import ScoreModels, start_models
from cascadia_sglang.judge.probe import Probe
from cascadia_sglang.judge.rating import Due, ObservedStep, rate
from cascadia_sglang.judge.state import StateTable
from cascadia_sglang.messages import (
    ATTEMPT_KEY,
    CONSTRAINTS,
    EVERY_TOKEN,
    AttemptOrder,
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
        due: list[Due] = []
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
                    due.append(Due(request, attempt, row, is_end))
            elif is_end:
                due.append(Due(request, attempt, row, is_end))
        if rows:
            step.fold(self._table, states, rows, token_ids)
        if due:
            rate(due, step, self._table.states_NS, self._hidden)

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


def _is_constrained(sampling_params: "SamplingParams") -> bool:
    for key in CONSTRAINTS:  # noqa: SIM110  a generator takes as long as the four look-ups
        if getattr(sampling_params, key, None):
            return True
    return False
