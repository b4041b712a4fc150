"""The coverage bench: what counts as a broken promise, and that whole calibrations keep theirs."""

import numpy as np
import pytest

from bench.calibration.coverage import Trial, estimates, trial
from cascadia_sglang.calibration.fit.calibrate import Settings
from cascadia_sglang.calibration.fit.thresholds import Target
from tests.unit.calibration.pools import make_pool

SETTINGS = Settings(
    tier_names=("small", "large"),
    tier_cost=(1.0, 5.0),
    target=Target(kind="escalation_rate", value=0.5),
    early_abort=0.05,
)


def test_a_risk_above_its_bound_breaks_it_and_none_promises_nothing() -> None:
    sound = Trial(bounds=(0.1, None), risks=(0.1, 0.9), loss_bound=0.02, loss=0.02)
    assert not sound.violates_risk
    assert not sound.violates_loss
    assert sound.abstains
    broken = Trial(bounds=(0.1, 0.2), risks=(0.05, 0.21), loss_bound=0.02, loss=0.03)
    assert broken.violates_risk
    assert broken.violates_loss
    assert not broken.abstains
    medians = {metric: value.p50 for metric, _, value in estimates([sound, broken])}
    assert medians["violations_of_accepted_risk"] == 1
    assert medians["violations_of_loss"] == 1
    assert medians["sets_with_an_abstention"] == 1
    assert medians["sets_refused"] == 0
    assert medians["bound_tier_1"] == pytest.approx(0.2)


def test_whole_calibrations_keep_their_promises() -> None:
    """20 sets: at 5 % each, more than 4 broken have a chance of 0.3 %."""
    pool = make_pool(4_000, seed=20, skills=(0.0, 2.5))
    trials = [trial(pool, number, 600, SETTINGS) for number in range(20)]
    assert all(result.refused is None for result in trials)
    assert sum(result.violates_risk for result in trials) <= 4
    assert sum(result.violates_loss for result in trials) <= 4
    # No bound is so wide that nothing could break it.
    ratio = [
        bound / result.risks[0] for result in trials if (bound := result.bounds[0]) is not None
    ]
    assert np.median(ratio) < 2.0


def test_a_set_that_cannot_be_calibrated_is_counted_as_refused() -> None:
    small = trial(make_pool(200, skills=(0.0, 2.5)), 0, 60, SETTINGS)
    assert small.refused is not None
    assert small.abstains
