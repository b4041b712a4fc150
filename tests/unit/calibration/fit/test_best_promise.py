"""What a sample can promise at best, against every outcome that it can have."""

import math
from itertools import product

import numpy as np
import pytest

from cascadia_sglang.calibration.fit.best_promise import best_promise, least_prompts, prospect
from cascadia_sglang.calibration.fit.certify import certify
from cascadia_sglang.calibration.fit.replay import ServedPool
from cascadia_sglang.calibration.fit.split import part_of
from cascadia_sglang.calibration.fit.thresholds import Target

ERROR = 0.05


def tail(count: int, trials: int, rate: float) -> float:
    """P(at most `count` events)."""
    return math.fsum(
        math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(count + 1)
    )


def largest_rate(count: int, trials: int, error: float) -> float:
    """The largest rate that leaves `count` or fewer events a chance of `error`, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(count, trials, middle) >= error else (low, middle)
    return low


def served(accepted: int, wrong: int, lost: int, prompts: int, judged: int) -> ServedPool:
    """The first tier accepts some, of which some are wrong; the last tier answers the rest."""
    answered_by_N = np.where(np.arange(prompts) < accepted, 0, judged)
    right_N = np.arange(prompts) >= wrong
    last_right_N = right_N | (np.arange(prompts) < lost)
    return ServedPool(
        score_NT=np.zeros((prompts, judged)),
        ended_NT=np.zeros((prompts, judged), dtype=bool),
        reached_NT=np.ones((prompts, judged + 1), dtype=bool),
        answered_by_N=answered_by_N,
        right_N=right_N,
        last_right_N=last_right_N,
    )


@pytest.mark.parametrize(("prompts", "judged"), [(30, 1), (37, 1), (45, 2)])
def test_no_outcome_is_certified_better(prompts: int, judged: int) -> None:
    best = best_promise(prompts, judged)
    risks, losses, qualities = [], [], []
    for accepted, wrong in product(range(prompts + 1), range(4)):
        if wrong > accepted:
            continue
        for lost in range(wrong + 1):
            promise = certify(served(accepted, wrong, lost, prompts, judged))
            if promise.risks[0].risk_high is not None:
                risks.append(promise.risks[0].risk_high)
            if promise.loss.loss_high is not None:
                losses.append(promise.loss.loss_high)
    qualities = [1 - largest_rate(wrong, prompts, ERROR) for wrong in range(4)]
    assert best.risk == pytest.approx(min(risks))
    assert best.risk == pytest.approx(largest_rate(0, prompts, ERROR / judged))
    assert best.quality == pytest.approx(max(qualities))
    # So few prompts promise no loss at all; the bound is that of the target's check.
    assert best.loss == pytest.approx(largest_rate(0, prompts, ERROR / 2))
    assert not losses or best.loss == pytest.approx(min(losses))


def test_too_few_prompts_promise_no_risk() -> None:
    assert best_promise(28, 1).risk is None
    assert best_promise(29, 1).risk == pytest.approx(0.0981, abs=1e-4)
    assert best_promise(29, 2).risk is None
    assert best_promise(100, 0).risk is None


@pytest.mark.parametrize("value", [0.9, 0.95, 0.99])
def test_a_quality_needs_just_so_many_prompts(value: float) -> None:
    needed = least_prompts(Target(kind="quality", value=value))
    assert needed == math.ceil(math.log(ERROR) / math.log(value))
    assert best_promise(needed, 1).quality >= value > best_promise(needed - 1, 1).quality


@pytest.mark.parametrize("value", [0.01, 0.02, 0.1])
def test_a_loss_needs_just_so_many_prompts(value: float) -> None:
    needed = least_prompts(Target(kind="loss", value=value))
    assert needed is not None
    assert best_promise(needed, 1).loss <= value < best_promise(needed - 1, 1).loss


def test_a_budget_needs_none_and_certainty_has_no_number() -> None:
    assert least_prompts(Target(kind="escalation_rate", value=0.3)) == 0
    assert least_prompts(Target(kind="cost", value=2.0)) == 0
    assert least_prompts(Target(kind="quality", value=1.0)) is None
    assert least_prompts(Target(kind="loss", value=0.0)) is None


def test_it_is_said_in_sentences() -> None:
    keys = [str(number) for number in range(300)]
    certify_prompts = sum(part_of(key) == "certify" for key in keys)
    first, second, *rest = prospect(keys, 1, Target(kind="loss", value=0.01))
    assert first.startswith("300 labelled prompts: ")
    assert first.endswith(f" {certify_prompts} to certify")
    risk = 100 * (1 - ERROR ** (1 / certify_prompts))
    (stated_risk,) = (
        float(part.split()[-2]) for part in second.split(";") if "no risk below" in part
    )
    assert stated_risk <= risk < stated_risk + 0.011
    assert rest == [
        "target loss 0.01: even the best case needs 368 to certify: "
        f"about {3 * (368 - certify_prompts):,} more labelled prompts"
    ]
    assert len(list(prospect(keys, 1, Target(kind="escalation_rate", value=0.3)))) == 2
    assert list(prospect(keys, 1, Target(kind="quality", value=1.0)))[-1] == (
        "target quality 1: no number of prompts can show it"
    )
    assert "risk" not in " ".join(prospect(keys, 0, Target(kind="quality", value=0.9)))
