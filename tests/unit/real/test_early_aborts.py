"""Answers that are ended early: against the replay of the calibration, and counted by hand."""

import numpy as np
import pytest

from bench.real.early_aborts import SETTINGS, Endings, endings, measures
from cascadia_sglang.calibration.fit.replay import TierReplay, ends
from cascadia_sglang.calibration.fit.scores import fit_tier
from cascadia_sglang.calibration.record.pool import TierAnswers
from cascadia_sglang.judge.features import FEATURES

CHECKPOINTS = (2, 4, 8, 16)


def made_up(seed: int, count: int) -> TierAnswers:
    """Answers whose features on the way tell ever more of the features at the end."""
    rng = np.random.default_rng(seed)
    features_NF = rng.normal(size=(count, len(FEATURES)))
    tokens_N = rng.integers(1, 33, count)
    features_NF[:, FEATURES.index("log_tokens")] = np.log(tokens_N)
    prefix_NF = {}
    for tokens in CHECKPOINTS:
        rows_NF = features_NF + rng.normal(size=features_NF.shape) / tokens
        rows_NF[tokens_N <= tokens] = np.nan
        prefix_NF[tokens] = rows_NF
    right_N = features_NF[:, 0] + rng.normal(size=count) > 0
    return TierAnswers(features_NF=features_NF, prefix_NF=prefix_NF, right_N=right_N)


@pytest.mark.parametrize("early_abort", SETTINGS)
@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_the_same_answers_end_as_in_the_replay_of_a_cascade(
    threshold: float, early_abort: float
) -> None:
    answers = made_up(0, 800)
    nothing_N0 = np.empty((800, 0))
    calibration = fit_tier(answers, nothing_N0)
    result = endings(TierReplay(calibration, answers, None), answers, threshold, early_abort)
    level_N = TierReplay(calibration, answers, early_abort).abort_level(nothing_N0)
    assert calibration.prefix
    assert result.ended().any() or threshold < 0.5
    assert np.array_equal(result.ended(), ends(level_N, threshold))


def test_an_answer_ends_at_its_first_hopeless_checkpoint() -> None:
    answers = made_up(1, 800)
    nothing_N0 = np.empty((800, 0))
    replay = TierReplay(fit_tier(answers, nothing_N0), answers, None)
    result = endings(replay, answers, 0.7, 0.2)
    assert result.ended().any()
    for row in np.flatnonzero(result.ended()):
        chances = [float(replay.chance(tokens, 0.7, nothing_N0)[row]) for tokens in CHECKPOINTS]
        assert result.written_N[row] == CHECKPOINTS[[c < 0.2 for c in chances].index(True)]


def test_measures_of_four_answers() -> None:
    result = Endings(
        tokens_N=np.array([10.0, 20.0, 30.0, 40.0]),
        written_N=np.array([10.0, 5.0, 30.0, 10.0]),
        reaches_N=np.array([True, True, False, False]),
        right_N=np.array([True, True, False, True]),
    )
    value_of = {name: estimate.p50 for name, estimate in measures(result)}
    assert value_of == {
        "ended": 0.5,
        "saved": pytest.approx(0.45),
        "saved_of_climbs": pytest.approx(30 / 70),
        "ended_wrongly": 0.5,
        "right_lost": 0.5,
    }
