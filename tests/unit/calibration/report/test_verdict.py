"""Whether a calibration reached what was asked, and how many more prompts that takes."""

import dataclasses

import numpy as np
import pytest

from cascadia_sglang.binomial_bounds import lower_bound
from cascadia_sglang.calibration.fit.calibrate import CalibratedCascade, Settings, calibrate
from cascadia_sglang.calibration.fit.certify import LossBound, QualityCertificate
from cascadia_sglang.calibration.fit.counts import Counts
from cascadia_sglang.calibration.fit.thresholds import SURE_ERROR, Target, ThresholdResult
from cascadia_sglang.calibration.report.verdict import verdict
from tests.unit.calibration.pools import make_pool

COST = (1.0, 8.0)


def outcome(
    prompts: int, right: int, lost: int = 0, gained: int = 0, share: float = 0.3
) -> ThresholdResult:
    return ThresholdResult(
        thresholds=(0.8,),
        quality=right / prompts,
        loss=(lost - gained) / prompts,
        loss_high95=0.0,
        shares=(1.0, share),
        cost=1.0 + 8.0 * share,
        prompts=prompts,
        lost=lost,
        gained=gained,
    )


def cascade(
    kind: str, value: float, chosen: ThresholdResult, held_out: ThresholdResult
) -> CalibratedCascade:
    return CalibratedCascade(
        settings=Settings(
            tier_names=("small", "large"),
            tier_cost=COST,
            target=Target(kind=kind, value=value, prefers_shown=True),
            early_abort=None,
        ),
        calibrations=(),
        chosen=chosen,
        held_out=held_out,
        certificate=QualityCertificate(
            confidence=0.95,
            risks=(),
            loss=LossBound(prompts=held_out.prompts, lost=0, gained=0, loss_high=None),
        ),
    )


def test_a_quality_is_shown_by_its_lower_bound() -> None:
    large = outcome(2000, 1960)
    judged = verdict(cascade("quality", 0.97, large, large))
    assert judged.is_reached
    assert judged.bound == pytest.approx(lower_bound(1960, 2000, 0.05))
    assert judged.line() == (
        "target quality at least 0.97: shown; this sample shows quality at least 0.974"
    )


def test_a_sample_too_small_to_choose_by_says_how_many_more_are_needed() -> None:
    """The last tier is right on 64 of 66: as it alone, the parts must show 0.95 with a margin."""
    small = outcome(66, 63, lost=1)
    judged = verdict(cascade("quality", 0.95, small, outcome(70, 64)))
    assert not judged.is_reached
    assert judged.more is not None
    needed = 66 + judged.more // 3
    assert lower_bound(64 / 66 * needed, needed, SURE_ERROR) >= 0.95
    assert lower_bound(64 / 66 * (needed - 1), needed - 1, SURE_ERROR) < 0.95
    assert f"not shown with this sample: about {judged.more:,} more are needed; " in judged.line()
    assert judged.line().endswith("this sample shows quality at least 0.8378")


def test_bad_luck_on_the_part_held_out_is_counted_with_the_other_part() -> None:
    chosen, held_out = outcome(1000, 980), outcome(1000, 962)
    judged = verdict(cascade("quality", 0.96, chosen, held_out))
    assert not judged.is_reached
    assert judged.more is not None
    needed = 1000 + judged.more // 3
    assert lower_bound(0.971 * needed, needed, 0.05) >= 0.96


def test_a_quality_above_the_last_tiers_is_never_shown_by_more_of_the_same() -> None:
    small = outcome(66, 60)
    judged = verdict(cascade("quality", 0.95, small, outcome(70, 60)))
    assert (judged.is_reached, judged.more) == (False, None)
    assert "not shown with this sample; more prompts like these are not expected to show it" in (
        judged.line()
    )


def test_a_loss_is_shown_by_its_upper_bound() -> None:
    good = outcome(1000, 970, lost=1, gained=1)
    assert verdict(cascade("loss", 0.01, good, good)).is_reached
    judged = verdict(cascade("loss", 0.01, outcome(100, 97), outcome(100, 97)))
    # Without a single lost prompt: 1 - (SURE_ERROR / 2) ** (1 / n) <= 0.01.
    needed = int(np.ceil(np.log(SURE_ERROR / 2) / np.log(0.99)))
    assert (judged.is_reached, judged.more) == (False, 3 * (needed - 100))


def test_a_cascade_of_one_tier_loses_nothing() -> None:
    alone = dataclasses.replace(outcome(100, 90), thresholds=(), shares=(1.0,), cost=1.0)
    assert verdict(cascade("loss", 0.01, alone, alone)).is_reached


@pytest.mark.parametrize(
    ("kind", "value", "share", "is_kept"),
    [
        ("escalation_rate", 0.3, 0.29, True),
        ("escalation_rate", 0.3, 0.33, True),
        ("escalation_rate", 0.3, 0.4, False),
        ("cost", 3.4, 0.3, True),
        ("cost", 3.4, 0.33, True),
        ("cost", 3.4, 0.45, False),
    ],
)
def test_a_budget_is_kept_unless_it_is_refuted(
    kind: str, value: float, share: float, is_kept: bool
) -> None:
    judged = verdict(cascade(kind, value, outcome(200, 150), outcome(200, 150, share=share)))
    assert judged.is_reached is is_kept
    assert ("not kept on the prompts held out" in judged.line()) is not is_kept
    assert judged.more is None


def test_the_variance_of_a_cost_is_that_of_the_prompts() -> None:
    held_out = outcome(200, 150, share=0.4)
    costs_N = np.r_[np.full(120, 1.0), np.full(80, 9.0)]
    judged = verdict(cascade("cost", 3.4, held_out, held_out))
    assert judged.bound == pytest.approx(costs_N.mean() - 1.645 * costs_N.std() / 200**0.5)


def test_counts_add_up_and_keep_their_rates() -> None:
    both = Counts(prompts=10, right=8, lost=1, gained=0) + Counts(
        prompts=30, right=30, lost=0, gained=2
    )
    assert both == Counts(prompts=40, right=38, lost=1, gained=2)
    assert both.scaled(20) == Counts(prompts=20, right=19, lost=0.5, gained=1)


@pytest.mark.parametrize(("kind", "value"), [("quality", 0.7), ("loss", 0.05)])
def test_thresholds_that_are_expected_to_be_shown_mostly_are(kind: str, value: float) -> None:
    """The cheapest thresholds stand right at the target: few samples, however large, show them."""
    shown = {True: 0, False: 0}
    for seed in range(12):
        pool = make_pool(3000, seed=seed, skills=(0.0, 2.0))
        for prefers_shown in shown:
            target = Target(kind=kind, value=value, prefers_shown=prefers_shown)
            settings = Settings(
                tier_names=("a", "b"), tier_cost=COST, target=target, early_abort=0.05
            )
            shown[prefers_shown] += verdict(calibrate(pool, settings)).is_reached
    assert shown[False] <= 5
    assert shown[True] >= 8
