"""Thresholds that follow the traffic, from a sample that every tier answered."""

import asyncio
import itertools
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cascadia_sglang.controller.decision import Rules, Situation, decide
from cascadia_sglang.controller.traffic_change import Change
from cascadia_sglang.errors import ConfigError, WorkloadError
from cascadia_sglang.planner.online.plan_process import ask_planner
from cascadia_sglang.planner.online.propose import propose
from cascadia_sglang.planner.online.weighted_sample import (
    MOST_POINTS,
    WeightedSample,
    weighted_sample,
)
from cascadia_sglang.planner.thresholds.replay import threshold_grid
from cascadia_sglang.planner.thresholds.sample import PlanSample, SampleRow, load_plan_sample
from tests.unit.controller.windows import NAMES, THRESHOLDS, plan_asked


def make_sample(count: int = 2_000, tiers: int = 2, seed: int = 0) -> PlanSample:
    """A tier answers right by the chance that its score says; the last one nearly always."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        scores = rng.random(tiers - 1).tolist()
        right = [float(rng.random() < score) for score in scores] + [float(rng.random() < 0.98)]
        lengths = [20] * tiers
        rows.append(SampleRow(scores=scores, correct=right, input_tokens=30, output_tokens=lengths))
    names = NAMES if tiers == 2 else tuple(f"t{tier}" for tier in range(tiers))
    return PlanSample(version=1, tiers=list(names), rows=rows)


def window(scores: np.ndarray) -> dict[str, np.ndarray]:
    lengths = np.ones(len(scores))
    return {"entry_score": scores, "input_tokens": 30 * lengths, "output_tokens": 20 * lengths}


def even(sample: PlanSample) -> WeightedSample:
    weighted = weighted_sample(sample, sample.entry_values())
    assert weighted is not None
    assert weighted.effective_size == pytest.approx(len(sample.rows))
    return weighted


@pytest.mark.parametrize("floor", [0.7, 0.9])
@pytest.mark.parametrize("tiers", [2, 3])
def test_candidates_keep_the_floor_and_none_of_the_grid_asks_less_of_every_tier(tiers, floor):
    weighted = even(make_sample(tiers=tiers, count=600))
    scores_NS, right_NT = weighted.graded.scores_NS, weighted.graded.correct_NT
    candidates = weighted.candidates(floor)
    assert candidates

    def ask(thresholds):
        """Quality and the share that reaches each further tier, row by row."""
        right, reached = 0.0, np.zeros(tiers)
        for scores, correct in zip(scores_NS, right_NT, strict=True):
            taken = [s >= t for s, t in zip(scores, thresholds, strict=True)]
            tier = taken.index(True) if True in taken else tiers - 1
            right += correct[tier]
            reached[: tier + 1] += 1
        return right / len(scores_NS), reached[1:] / len(scores_NS)

    grid = threshold_grid(weighted.graded, 8 if tiers == 3 else MOST_POINTS)
    outcomes = [ask(thresholds) for thresholds in itertools.product(*grid)]
    keeping = [shares for quality, shares in outcomes if quality >= floor]
    for candidate in candidates:
        quality, shares = ask(candidate.values)
        assert quality == pytest.approx(candidate.quality)
        assert quality >= floor
        assert not any((other < shares - 1e-12).all() for other in keeping)


def test_nothing_keeps_a_floor_above_the_last_tier():
    assert even(make_sample()).candidates(0.999) == []


def test_a_window_weighs_the_sample_by_its_scores():
    """Among prompts that score 0.2 to 0.4, a threshold of 0 is right for three in ten."""
    rng = np.random.default_rng(1)
    weighted = weighted_sample(make_sample(), window(rng.uniform(0.2, 0.4, 500)))
    assert weighted is not None
    assert weighted.effective_size < 700
    assert weighted.quality([0.0]) == pytest.approx(0.3, abs=0.05)
    assert weighted.quality([1.0]) == pytest.approx(0.98, abs=0.02)
    drawn = weighted.drawn(5_000, seed=0)
    paths = weighted.paths([0.3], drawn)
    scores_R = weighted.graded.scores_NS[drawn, 0]
    # Its bins are deciles of the sample, so those at the edges bring others along.
    assert ((scores_R >= 0.2) & (scores_R <= 0.4)).mean() > 0.85
    assert (paths.last_tier_R == (scores_R < 0.3)).all()


def test_a_sample_that_is_worth_too_few_prompts_says_nothing():
    rng = np.random.default_rng(1)
    assert weighted_sample(make_sample(300), window(rng.uniform(0.2, 0.3, 500))) is None


def planned(hard: float, floor: float | None, thresholds: tuple[float, ...] = THRESHOLDS):
    """A window that keeps two workers of each tier busy."""
    made = plan_asked(hard, rate=14.0)
    return msgspec.structs.replace(made, quality_floor=floor, thresholds=thresholds)


def settle(proposal):
    """The decision on a proposal for changed traffic, where moving is free."""
    situation = Situation(
        at_s=0.0,
        changes=[Change(quantity="score", p_bound=0.0, before=1.0, now=0.0)],
        rate_per_s=14.0,
        moved_at_s=None,
        extra_s=0.0,
        rules=Rules(),
        proposal=proposal,
    )
    return decide(situation)


def test_where_quality_is_to_spare_thresholds_fall_no_further_than_the_floor():
    proposal = propose(planned(0.5, 0.8, (0.95,)), make_sample())
    assert proposal.thresholds is not None
    assert proposal.thresholds[0] < 0.95
    assert proposal.quality is not None
    assert 0.8 <= proposal.quality.predicted < proposal.quality.current
    assert proposal.predicted_s < proposal.current_s
    assert settle(proposal).reason == "gain"


def test_traffic_that_nothing_of_the_sample_is_like_leaves_the_thresholds(monkeypatch):
    def nothing(*_):
        raise WorkloadError("no prompt of the sample is like the window")

    monkeypatch.setattr("cascadia_sglang.planner.online.weighted_sample.fit_window", nothing)
    proposal = propose(planned(0.9, 0.9, (0.1,)), make_sample())
    assert (proposal.thresholds, proposal.quality) == (None, None)
    assert proposal.pools["large"].replicas == 3


def test_where_the_floor_is_lost_thresholds_rise_though_that_is_slower():
    proposal = propose(planned(0.9, 0.9, (0.1,)), make_sample())
    assert proposal.quality is not None
    assert proposal.quality.current < 0.9 <= proposal.quality.predicted
    assert proposal.thresholds is not None
    assert proposal.thresholds[0] > 0.1
    assert settle(proposal).verdict == "move"
    assert settle(proposal).reason == "quality"


def test_answers_that_were_ended_early_count_as_those_below_the_threshold():
    """Else traffic looks as easy as the answers that were let finish."""
    whole = planned(0.9, 0.9, (0.5,))
    hard = [score is not None and score < 0.5 for score in whole.entry_score_R]
    ended = msgspec.structs.replace(
        whole,
        entry_score_R=[None if h else s for h, s in zip(hard, whole.entry_score_R, strict=True)],
        ended_early_R=hard,
    )
    unseen = msgspec.structs.replace(ended, ended_early_R=[False] * len(hard))
    with_ended, blind = (propose(request, make_sample()).quality for request in (ended, unseen))
    assert with_ended is not None
    # One in ten scores 0.9 and stays, of the others 98 % are right at the large tier.
    assert with_ended.current == pytest.approx(0.97, abs=0.02)
    assert blind is None or blind.current < with_ended.current - 0.03


def test_without_a_floor_or_a_sample_thresholds_stay():
    for proposal in (propose(planned(0.9, None), make_sample()), propose(planned(0.9, 0.9), None)):
        assert proposal.thresholds is None
        assert proposal.quality is None


def test_the_planners_process_reads_the_sample(tmp_path: Path):
    path = tmp_path / "sample.json"
    path.write_bytes(msgspec.json.encode(make_sample()))
    request = planned(0.9, 0.9, (0.1,))
    proposal = asyncio.run(ask_planner(request, 60.0, sample=str(path)))
    here = propose(request, make_sample())
    assert msgspec.structs.replace(proposal, solve_s=0.0) == here


def test_a_sample_of_other_tiers_or_sizes_is_refused(tmp_path: Path):
    path = tmp_path / "sample.json"
    path.write_bytes(msgspec.json.encode(make_sample(count=3)))
    with pytest.raises(ConfigError, match="made for tiers small, large, but the cascade has a, b"):
        load_plan_sample(path, ["a", "b"])
    rows = [{"scores": [0.5], "correct": [1, 1], "input_tokens": 1, "output_tokens": [1]}]
    path.write_bytes(msgspec.json.encode({"version": 1, "tiers": ["a", "b"], "rows": rows}))
    with pytest.raises(ConfigError, match=r"rows\[0\] has 1 scores, 2 correct and 1 output_tokens"):
        load_plan_sample(path, ["a", "b"])
