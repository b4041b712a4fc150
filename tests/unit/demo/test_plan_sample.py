"""The demo's planner sample: of its tiers, and in line with what its thresholds were chosen for."""

import numpy as np

from cascadia_sglang.config.cascade_file import load_cascade
from cascadia_sglang.page.what_if import predicted
from cascadia_sglang.planner.thresholds.sample import load_plan_sample
from demo import CASCADE
from demo.calibrate.fit import MAX_LOSS, TIER_COST
from demo.calibrate.plan_sample import ROWS, SAMPLE


def test_the_cascade_file_names_it_and_nothing_moves_by_it() -> None:
    planner = load_cascade(CASCADE).planner
    assert planner.sample == str(SAMPLE)
    assert not planner.enabled
    assert planner.quality_floor is None


def test_the_demos_thresholds_lose_no_more_than_they_were_chosen_for() -> None:
    config = load_cascade(CASCADE)
    sample = load_plan_sample(SAMPLE, [tier.name for tier in config.tiers])
    assert len(sample.rows) == ROWS
    graded = sample.graded()
    chosen = predicted(graded, config.routing.thresholds, TIER_COST)
    largest = predicted(graded, [1.0] * len(config.routing.thresholds), TIER_COST)
    last = graded.mean(graded.correct_NT[:, -1])
    # On other prompts than those of the choice: within three deviations of the difference.
    gap_N = graded.correct_NT[:, -1] - graded.answered(config.routing.thresholds)
    assert last - chosen.quality <= MAX_LOSS + 3 * float(np.std(gap_N)) / len(gap_N) ** 0.5
    assert chosen.cost is not None
    assert largest.cost is not None
    assert chosen.cost < 0.1 * largest.cost
