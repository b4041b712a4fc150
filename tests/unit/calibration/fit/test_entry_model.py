"""The entry model of a calibration's sample: fitted on two parts of it, reported on the third."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from cascadia_sglang.calibration.fit.calibrate import Settings, calibrate_parts
from cascadia_sglang.calibration.fit.entry_model import (
    MAX_LOSS,
    LabelledPrompts,
    commit_at_once,
    fit_on_pool,
)
from cascadia_sglang.calibration.fit.split import part_of, split_sample
from cascadia_sglang.calibration.fit.thresholds import Target
from cascadia_sglang.calibration.report.output import write_entry_model
from cascadia_sglang.entry.model import EntryModel, EntryScorer
from tests.unit.calibration.pools import make_pool

TELLS = 7  # a token that only prompts have which the first tier fails


def fit(count: int, right_if_told: float = 0.05) -> EntryModel | None:
    """An entry model; the first of three tiers is right on what lacks the token, nearly always."""
    rng = np.random.default_rng(0)
    pool = make_pool(count)
    prompts = [rng.integers(10, 50, rng.integers(5, 20)).tolist() for _ in range(count)]
    for row in range(0, count, 2):
        prompts[row].append(TELLS)
    chance_N = np.array([right_if_told if TELLS in prompt else 0.95 for prompt in prompts])
    first = dataclasses.replace(pool.tiers[0], right_N=rng.random(count) < chance_N)
    pool = dataclasses.replace(pool, tiers=(first, *pool.tiers[1:]))
    return fit_on_pool(
        pool,
        prompts,
        [1.0, 3.0, 9.0],
        tiers=["small", "middle", "large"],
        vocabulary="v",
        vocabulary_size=50,
    )


def test_it_skips_what_the_first_tier_would_fail_and_says_so() -> None:
    model = fit(600)
    assert model is not None
    held_out = sum(part_of(f"q{index}") == "certify" for index in range(600))
    assert model.samples == 600 - held_out
    assert model.report["held_out"] == held_out
    assert model.report["auroc_small"] > 0.85
    assert model.report["skipped_small"] == pytest.approx(0.5, abs=0.1)
    assert model.report["right_of_skipped_small"] < 0.2
    assert EntryScorer(model).climb([20, 21, TELLS], range(3))[0] > 0
    assert EntryScorer(model).climb([20, 21, 22], range(3))[0] == 0


def test_more_prompts_fit_it_but_for_those_held_out() -> None:
    pool = make_pool(600)
    prompts = [[10 + row % 40, row] for row in range(600)]
    more = LabelledPrompts([*prompts, [1, 2], [3, 4]], np.ones((2, 602), dtype=bool))
    model = fit_on_pool(
        pool,
        prompts,
        [1.0, 3.0, 9.0],
        tiers=["small", "middle", "large"],
        vocabulary="v",
        vocabulary_size=50,
        more=more,
    )
    assert model is not None
    fitted = sum(part_of(f"q{index}") != "certify" for index in range(600))
    assert model.samples == 2 * fitted + 2


def test_a_small_sample_gives_none() -> None:
    assert fit(60) is None


def test_what_leaves_at_once_loses_no_more_than_it_may() -> None:
    model = fit(600)
    assert model is not None
    rng = np.random.default_rng(1)
    prompts = [rng.integers(10, 50, 10).tolist() + [TELLS] * (row % 2) for row in range(400)]
    right_N = np.array([TELLS not in prompt for prompt in prompts])
    commitment = commit_at_once(model, prompts, right_N, np.ones(400, dtype=bool))
    assert commitment is not None
    scorer = EntryScorer(model)
    leaves_N = np.array([scorer.chance(ids, 0) >= commitment.chance for ids in prompts])
    assert (~right_N[leaves_N]).mean() <= MAX_LOSS
    assert leaves_N.mean() == pytest.approx(commitment.share, abs=0.01)
    assert commitment.share == pytest.approx(0.5, abs=0.05)
    # A cascade that is no better than its first tier loses nothing by it.
    assert commit_at_once(model, prompts, right_N, right_N).share >= commitment.share
    # And where the first tier is never right, nothing may leave.
    assert commit_at_once(model, prompts, ~right_N & False, np.ones(400, dtype=bool)) is None


def test_too_few_prompts_with_ids_are_told_and_nothing_is_written(tmp_path: Path) -> None:
    pool = make_pool(600)
    settings = Settings(
        tier_names=("small", "middle", "large"),
        tier_cost=(1.0, 3.0, 9.0),
        target=Target(kind="escalation_rate", value=0.5),
        early_abort=None,
    )
    cascade = calibrate_parts(split_sample(pool), settings)
    ids_by_row = [[1, 2] if row < 20 else None for row in range(600)]
    (line,) = write_entry_model(cascade, pool, ids_by_row, {"a": 1}, tmp_path)
    assert "no entry model: 20 prompts have token ids" in line
    assert list(tmp_path.iterdir()) == []
