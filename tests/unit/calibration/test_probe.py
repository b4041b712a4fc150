"""A probe gains where the hidden states tell of the outcome, and counts for nothing elsewhere."""

import msgspec
import numpy as np
import pytest
import torch

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.calibration.fit import fit_tier
from cascadia_sglang.calibration.pool import TierAnswers
from cascadia_sglang.calibration.probe import fit_probe, with_probe
from cascadia_sglang.calibration.replay import TierReplay, sigmoid
from cascadia_sglang.calibration.statistics import auroc, ece
from cascadia_sglang.judge.calibration import ScoreModel
from cascadia_sglang.judge.probe import probe_log_odds
from tests.unit.calibration.pools import make_pool

H, COUNT = 12, 1500


def hidden_of(answers: TierAnswers, seed: int, is_told: bool) -> FloatArray:
    """Hidden states; where it is told, a pair of values agrees in sign where the answer is right,
    which no linear model sees."""
    rng = np.random.default_rng(seed)
    hidden_NH = rng.normal(size=(len(answers.right_N), H))
    if is_told:
        sign_N = np.where(answers.right_N, 1.0, -1.0)
        hidden_NH[:, 0] = sign_N * hidden_NH[:, 1] + 0.3 * hidden_NH[:, 0]
    return hidden_NH


@pytest.fixture(scope="module", params=[True, False], ids=["told", "noise"])
def fitted(request: pytest.FixtureRequest):
    """Whether the hidden states tell, the calibration with a probe, and unseen answers."""
    torch.set_num_threads(1)
    own, second, asked = (make_pool(COUNT, seed, skills=(0.0,)).tiers[0] for seed in (1, 2, 3))
    parameters = fit_probe(hidden_of(own, 1, request.param), own.right_N)
    logits = fit_tier(second, np.empty((COUNT, 0)))
    hidden_NH = hidden_of(second, 2, request.param)
    both = with_probe(logits, second.features_NF, hidden_NH, second.right_N, parameters)
    return request.param, logits, both, asked, hidden_of(asked, 3, request.param)


def test_it_gains_where_the_hidden_states_tell_and_loses_nothing_elsewhere(fitted) -> None:
    is_told, logits, both, asked, hidden_NH = fitted
    probed_N = probe_log_odds(hidden_NH, both.probe.unpacked())
    rows = (asked.features_NF, probed_N)
    scores = [
        np.array([ScoreModel(c).score(x, (), p) for x, p in zip(*rows, strict=True)])
        for c in (logits, both)
    ]
    without, with_ = (auroc(score_N, asked.right_N) for score_N in scores)
    assert ece(scores[1], asked.right_N) < 0.04
    if is_told:
        assert with_ - without > 0.02
    else:
        assert abs(with_ - without) < 0.005
        assert abs(both.probe.weight) < 0.4


def test_only_the_score_changes(fitted) -> None:
    _, logits, both, _, _ = fitted
    same = {"weights": both.weights, "bias": both.bias, "probe": both.probe}
    assert msgspec.structs.replace(logits, **same) == both


def test_answers_without_hidden_states_are_not_replayed_by_it(fitted) -> None:
    _, logits, both, asked, _ = fitted
    assert sigmoid(TierReplay(logits, asked, None).log_odds(np.empty((COUNT, 0)))).max() < 1.0
    with pytest.raises(ValueError, match="keep no hidden states"):
        TierReplay(both, asked, None)
