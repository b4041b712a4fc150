"""The second judge: whether a smaller tier's answer is acceptable, by a larger tier's logits.

It reads the larger tier's probabilities of the draft as the first judge reads those of an answer.
It is calibrated in the same way, on the drafts that reach that tier (speculative cascades defer by
such a rule: arXiv 2405.19261).
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.judge.calibration import ScoreModel, load_calibration
from cascadia_sglang.judge.draft_step import DraftStep
from cascadia_sglang.judge.features import features_of
from cascadia_sglang.judge.state import StateTable
from cascadia_sglang.messages import AttemptOrder, JudgeSpec


class DraftJudge:
    """Rates the drafts of one worker."""

    def __init__(self, models: dict[int, ScoreModel], record: bool = False) -> None:
        """`models` by the index of the tier that reads; `record` keeps every draft's features."""
        self._models = models
        self._record = record
        self._table = StateTable()

    @classmethod
    def from_spec(cls, spec: JudgeSpec) -> "DraftJudge":
        """Load the file of each tier index that rates drafts."""
        models = {
            tier: ScoreModel(load_calibration(Path(path)))
            for tier, path in spec.draft_calibrations.items()
        }
        return cls(models, bool(spec.record))

    def wants(self, order: AttemptOrder) -> bool:
        """Whether an attempt's draft is rated or recorded."""
        rates = order.confirm_at is not None and order.tier_index in self._models
        return rates or self._record

    def features(
        self, steps: Sequence[tuple[DraftStep, Sequence[int]]], prompt_tokens: int
    ) -> FloatArray:
        """Base features [F] of a whole draft.

        Args:
            steps: of the draft's places in order, each with the tokens there.
        """
        row = self._table.new_row()
        for step, token_ids in steps:
            step.fold_draft(self._table, row, token_ids)
        rows_1F = features_of(self._table.states_NS, np.array([(row.index, prompt_tokens, 0)]))
        features_F: FloatArray = rows_1F[0]
        return features_F

    def score(self, order: AttemptOrder, features_F: FloatArray) -> float | None:
        """Chance that the draft is acceptable; None without a model or a question."""
        model = self._models.get(order.tier_index)
        if model is None or order.confirm_at is None:
            return None
        score = model.score(features_F, order.earlier_scores)
        return score if math.isfinite(score) else None

    def recorded(self, features_F: FloatArray) -> list[float | None] | None:
        """Features for the report of a server that records; None of another."""
        if not self._record:
            return None
        return [x if math.isfinite(x) else None for x in features_F.tolist()]
