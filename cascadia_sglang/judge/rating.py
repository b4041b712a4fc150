"""Rates the answers that ended or reached a checkpoint in a step, and says what to do with them."""

import math
from base64 import b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from sglang.srt.managers.schedule_batch import FINISH_ABORT, FINISH_LENGTH

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.judge.attempt import JudgedAttempt
from cascadia_sglang.judge.calibration import ScoreModel
from cascadia_sglang.judge.features import features_of
from cascadia_sglang.judge.state import StateTable
from cascadia_sglang.messages import JudgeReport

if TYPE_CHECKING:
    from sglang.srt.managers.schedule_batch import Req


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


class Due(NamedTuple):
    """A request to be rated after a token, and the token's row in the step.

    Attributes:
        is_end: whether the answer ends with the token.
    """

    request: "Req"
    attempt: JudgedAttempt
    row: int
    is_end: bool


def rate(
    due: Sequence[Due], step: ObservedStep, states_NS: FloatArray, hidden: frozenset[int]
) -> None:
    """Report the score of those that ended; of the others, whether to commit or to end them.

    Args:
        states_NS: [N, S] of the table, by state.
        hidden: tier indices whose records hold the last hidden state.
    """
    answers = [
        (
            attempt.row.index,
            len(request.origin_input_ids),
            is_end and isinstance(request.finished_reason, FINISH_LENGTH),
        )
        for request, attempt, _, is_end in due
    ]
    rows_NF = features_of(states_NS, np.array(answers))
    ended: dict[ScoreModel, list[int]] = {}
    for index, (request, attempt, row, is_end) in enumerate(due):
        model = attempt.model
        if attempt.record is not None:
            _note(attempt, attempt.record, rows_NF[index])
            if is_end and attempt.order.tier_index in hidden:
                state = step.hidden_state(row)
                attempt.record["hidden"] = None if state is None else b64encode(state).decode()
        if not is_end:
            if model is not None:
                _commit_or_end(request, attempt, model, rows_NF[index])
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


def _added(model: ScoreModel, ending: Due, step: ObservedStep) -> float:
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
