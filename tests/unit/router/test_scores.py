"""A tier's source of scores, its threshold, and what moves it."""

from random import Random
from typing import Any

import msgspec
import pytest

from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.errors import ConfigError, RequestError
from cascadia_sglang.judge.calibration import MIN_CONSTRAINED_SAMPLES
from cascadia_sglang.messages import AttemptOrder
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.feedback.scores import ScoreSource, TierScoring
from cascadia_sglang.testing.engine import make_cascade
from tests.unit.judge.judging import make_calibration

RANKED = make_cascade("small", "large", escalation_rate=0.3)


def calibrated(path: str = "own.json", **routing: Any) -> CascadeConfig:
    config = make_cascade("small", "large", **routing)
    small = msgspec.structs.replace(config.tiers[0], calibration=path)
    return msgspec.structs.replace(config, tiers=[small, config.tiers[1]])


def order(calibration: str | None = None, threshold: float = 0.5) -> AttemptOrder:
    return AttemptOrder(
        tier_index=0,
        threshold=threshold,
        early_abort=None,
        earlier_scores=(),
        calibration=calibration,
    )


def fill(scores: TierScoring, count: int = 200) -> None:
    random = Random(0)
    for _ in range(count):
        score = random.random()
        climbed = score < scores.threshold_for(order(), score)
        scores.note(0, score, climbed=climbed)


def test_a_tier_without_a_calibration_is_ranked() -> None:
    scores = TierScoring(RANKED)
    assert scores.source(0) == ScoreSource(None, is_calibrated=False)
    assert scores.is_judged(0)
    assert scores.is_ranked(0)
    assert not scores.is_calibrated(order())
    assert scores.judges_constrained == {0}
    assert not scores.is_judged(1)
    assert scores.threshold(1) is None


def test_fixed_thresholds_are_those_of_the_order() -> None:
    scores = TierScoring(make_cascade("small", "large", thresholds=[0.6]))
    assert scores.threshold(0) == 0.6
    assert scores.threshold_for(order(threshold=0.7), 0.65) == 0.7
    assert scores.rate(0) is None
    fill(scores)
    assert scores.threshold(0) == 0.6
    assert scores.recent_rate(0) is None


def test_a_calibrated_tier_begins_at_the_quantile_of_its_calibration() -> None:
    calibration = msgspec.structs.replace(make_calibration(0, 0.0), score_quantiles=[0.4, 0.9])
    scores = TierScoring(calibrated(escalation_rate=0.5), {0: calibration})
    assert scores.threshold(0) == pytest.approx(0.65, abs=0.04)
    assert scores.source(0) == ScoreSource(None, is_calibrated=True)


@pytest.mark.parametrize("tier", [0, 1])
def test_what_has_no_score_changes_nothing(tier: int) -> None:
    scores = TierScoring(RANKED)
    fill(scores)
    before = scores.threshold(0), scores.recent_rate(0)
    for _ in range(50):
        scores.note(tier, None, climbed=True)
        scores.note(1, 0.1, climbed=True)
    assert (scores.threshold(0), scores.recent_rate(0)) == before


def test_another_calibration_takes_over_at_its_own_quantile() -> None:
    scores = TierScoring(RANKED)
    fill(scores)
    calibration = msgspec.structs.replace(make_calibration(0, 0.0), score_quantiles=[0.9, 1.0])
    scores.replace(0, "new.json", calibration)
    assert scores.source(0) == ScoreSource("new.json", is_calibrated=True)
    assert not scores.is_ranked(0)
    assert scores.is_calibrated(order("new.json"))
    assert not scores.is_calibrated(order())
    assert 0.91 < scores.threshold(0) < 0.95


def test_an_attempt_that_the_old_source_scored_moves_nothing() -> None:
    scores = TierScoring(RANKED)
    fill(scores)
    scores.replace(0, "new.json", make_calibration(0, 0.0))
    before = scores.threshold(0), scores.recent_rate(0)
    for _ in range(50):
        assert scores.threshold_for(order(threshold=0.4), 0.1) == 0.4
        scores.note(0, 0.1, climbed=True)
    assert (scores.threshold(0), scores.recent_rate(0)) == before


def test_a_calibration_that_knows_no_answers_under_a_grammar_judges_none() -> None:
    scores = TierScoring(RANKED)
    shared = scores.judges_constrained
    calibration = make_calibration(0, 0.0)
    scores.replace(0, "new.json", calibration)
    assert shared == set()
    many = MIN_CONSTRAINED_SAMPLES
    calibration = msgspec.structs.replace(calibration, samples=many, constrained_samples=many)
    scores.replace(0, "newer.json", calibration)
    assert shared == {0}


def test_thresholds_are_fixed_only_where_every_tier_is_calibrated() -> None:
    scores = TierScoring(RANKED)
    with pytest.raises(ConfigError) as raised:
        scores.fix([0.8])
    assert "small has no calibration" in str(raised.value)
    assert "routing.escalation_rate" in str(raised.value)
    assert scores.keeps_rate
    scores.replace(0, "new.json", make_calibration(0, 0.0))
    scores.fix([0.8])
    assert scores.threshold(0) == 0.8
    assert not scores.keeps_rate


@pytest.mark.parametrize(
    ("config", "controls", "is_refused"),
    [
        (RANKED, Controls(threshold=0.5), True),
        (RANKED, Controls(), False),
        (RANKED, Controls(threshold=0.5, tier=0), False),
        (RANKED, Controls(threshold=0.5, max_tier=0), False),
        (calibrated(escalation_rate=0.3), Controls(threshold=0.5), False),
        (make_cascade("small", "large"), Controls(threshold=0.5), False),
        (make_cascade("only"), Controls(threshold=0.5), False),
    ],
    ids=["ranked", "none", "pinned", "one-tier-left", "calibrated", "fixed", "one-tier"],
)
def test_a_requests_own_threshold_is_refused_where_only_ranks_are(
    config: CascadeConfig, controls: Controls, is_refused: bool
) -> None:
    scores = TierScoring(config)
    if not is_refused:
        scores.check_own_threshold(controls)
        return
    with pytest.raises(RequestError) as raised:
        scores.check_own_threshold(controls)
    assert raised.value.status == 400
    assert raised.value.param == "x-cascadia-threshold"
    assert "ranked" in str(raised.value)
