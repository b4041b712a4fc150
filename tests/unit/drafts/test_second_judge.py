"""The second judge rates a draft as the first rates an answer."""

from typing import Any

import numpy as np
import pytest

from cascadia_kernels.testing import make_logits
from cascadia_sglang.drafts.second_judge import DraftJudge
from cascadia_sglang.judge.calibration import ScoreModel
from cascadia_sglang.judge.features import FEATURES, features
from cascadia_sglang.judge.state import empty_states
from cascadia_sglang.messages import AttemptOrder
from tests.unit.judge.judging import fold_values, make_model
from tests.unit.judge.test_observer import step_of, values_of


def order(confirm_at: float | None = 0.5, tier_index: int = 1) -> AttemptOrder:
    return AttemptOrder(
        tier_index=tier_index,
        threshold=0.9,
        early_abort=None,
        earlier_scores=(0.3,),
        confirm_at=confirm_at,
    )


@pytest.mark.parametrize("on_device", [False, True], ids=["host", "device"])
def test_a_drafts_features_are_those_of_an_answer_of_its_tokens(on_device: bool) -> None:
    logits_NV, tokens = make_logits(9, 60), [3, 1, 4, 1, 5, 9, 2, 6, 5]
    parts = []
    for part in (slice(0, 4), slice(4, 9)):
        parts.append((step_of(logits_NV[part], tokens[part], on_device), tokens[part]))
    states_NS = empty_states(1)
    for values_5 in values_of(logits_NV, tokens).double().numpy():
        fold_values(states_NS, [0], values_5[None])
    expected_F = features(states_NS, np.array([7.0]), np.zeros(1))[0]
    found_F = DraftJudge({}).features(parts, prompt_tokens=7)
    np.testing.assert_allclose(found_F, expected_F, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("judge", "order", "is_wanted"),
    [
        (DraftJudge({1: make_model()}), order(), True),
        (DraftJudge({1: make_model()}), order(confirm_at=None), False),
        (DraftJudge({1: make_model()}), order(tier_index=2), False),
        (DraftJudge({}), order(), False),
        (DraftJudge({}, record=True), order(confirm_at=None), True),
    ],
    ids=["rates", "not-asked", "other-tier", "no-model", "records"],
)
def test_it_wants_what_it_can_rate_or_records(
    judge: DraftJudge, order: AttemptOrder, is_wanted: bool
) -> None:
    assert judge.wants(order) is is_wanted


def test_a_score_is_that_of_its_tiers_model(monkeypatch: Any) -> None:
    seen: list[Any] = []

    def score(_self: ScoreModel, features_F: Any, earlier_scores: Any) -> float:
        seen.append((features_F.tolist(), earlier_scores))
        return 0.7

    monkeypatch.setattr(ScoreModel, "score", score)
    judge = DraftJudge({1: make_model()})
    features_F = np.arange(float(len(FEATURES)))
    assert judge.score(order(), features_F) == 0.7
    assert seen == [(features_F.tolist(), (0.3,))]
    assert judge.score(order(confirm_at=None), features_F) is None
    assert judge.score(order(tier_index=2), features_F) is None


def test_a_score_that_is_no_number_is_none() -> None:
    broken_F = np.full(len(FEATURES), np.nan)
    assert DraftJudge({1: make_model()}).score(order(), broken_F) is None


def test_features_are_told_where_they_are_recorded() -> None:
    features_F = np.array([0.5, np.inf])
    assert DraftJudge({}).recorded(features_F) is None
    assert DraftJudge({}, record=True).recorded(features_F) == [0.5, None]
