"""Fitting an entry model: chances like scikit-learn's own, margins that save."""

import itertools

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from cascadia_sglang.entry.features import prompt_features
from cascadia_sglang.entry.fit import (
    STRENGTHS,
    design,
    fit_chance,
    fit_entry_model,
    skip_margins,
)
from cascadia_sglang.entry.model import EntryModel, EntryScorer

NGRAMS, BITS = 2, 10


def make_prompts(count: int, seed: int) -> tuple[list[list[int]], np.ndarray]:
    """Prompts of which the first tier answers those with token 7 well, the second all but a few."""
    rng = np.random.default_rng(seed)
    prompts = [rng.integers(0, 50, rng.integers(5, 40)).tolist() for _ in range(count)]
    likes_N = np.array([7 in prompt for prompt in prompts])
    chance_N = np.where(likes_N, 0.9, 0.1)
    return prompts, np.stack([rng.random(count) < chance_N, rng.random(count) < 0.9])


@pytest.fixture(scope="module")
def fitted() -> EntryModel:
    prompts, right_HN = make_prompts(600, 0)
    return fit_entry_model(
        prompts,
        right_HN,
        [1.0, 2.0, 8.0],
        tiers=["small", "middle", "large"],
        vocabulary="v",
        ngrams=NGRAMS,
        bits=BITS,
    )


def test_the_scorer_gives_scikit_learns_probabilities(fitted: EntryModel) -> None:
    """On prompts whose buckets all occurred in the fit."""
    prompts, right_HN = make_prompts(600, 0)
    seen = design(prompts, NGRAMS, BITS)
    scorer = EntryScorer(fitted)
    given = np.array([scorer.chances(ids) for ids in prompts])
    for tier in (0, 1):
        # The strength that the fit chose is the one whose model it is.
        models = [LogisticRegression(C=c, tol=1e-9, max_iter=10_000) for c in STRENGTHS]
        expected = [
            model.fit(seen.x_NS, right_HN[tier]).predict_proba(seen.x_NS)[:, 1] for model in models
        ]
        gaps = [np.abs(given[:, tier] - chances).max() for chances in expected]
        # Another solver's, and weights are stored in float32.
        assert min(gaps) < 1e-4


def test_a_bucket_that_never_occurred_says_nothing() -> None:
    prompts = [[1, 2], [2, 3]] * 30
    right_N = np.arange(60) % 2 == 0
    chance = fit_chance(design(prompts, 1, BITS), right_N, BITS)
    weights_B = np.frombuffer(chance.weights, dtype="<f4")
    occurring = {int(bucket) for ids in prompts for bucket in prompt_features(ids, 1, BITS)[0]}
    assert set(np.flatnonzero(weights_B)) <= occurring
    assert weights_B.any()


def test_what_the_small_tier_can_do_is_learned(fitted: EntryModel) -> None:
    prompts, _ = make_prompts(300, 2)
    scorer = EntryScorer(fitted)
    likes = [7 in prompt for prompt in prompts]
    chances = [float(scorer.chances(prompt)[0]) for prompt in prompts]
    liked = [chance for chance, like in zip(chances, likes, strict=True) if like]
    others = [chance for chance, like in zip(chances, likes, strict=True) if not like]
    assert np.mean([a > b for a, b in itertools.product(liked, others)]) > 0.85
    visited = [scorer.climb(prompt, [0, 1, 2])[0] for prompt in prompts]
    assert set(visited) == {0, 1}


@pytest.mark.parametrize("right", [0, 5, 95, 100])
def test_labels_of_nearly_one_kind_give_their_share(right: int) -> None:
    prompts, _ = make_prompts(100, 3)
    right_N = np.arange(100) < right
    chance = fit_chance(design(prompts, NGRAMS, BITS), right_N, BITS)
    assert not np.frombuffer(chance.weights, dtype="<f4").any()
    assert chance.length_weight == 0.0
    assert 1 / (1 + np.exp(-chance.bias)) == pytest.approx((right + 0.5) / 101)


def test_margins_are_the_break_even_of_trying_a_tier() -> None:
    """Against the mean cost of whole climbs, prompt by prompt."""
    rng = np.random.default_rng(4)
    right_HN = rng.random((2, 4000)) < np.array([[0.5], [0.7]])
    costs = [1.0, 3.0, 10.0]

    def cost(first: int, column: int) -> float:
        spent = 0.0
        for tier in range(first, 3):
            spent += costs[tier]
            if tier == 2 or right_HN[tier, column]:
                break
        return spent

    margins = skip_margins(right_HN, costs)
    for tier in (0, 1):
        hopeless = np.flatnonzero(~right_HN[tier])
        saved = np.mean([cost(tier + 1, int(column)) for column in hopeless])
        assert margins[tier] == pytest.approx(costs[tier] / saved)


def test_a_tier_that_costs_more_than_the_rest_is_always_skipped() -> None:
    right_HN = np.ones((1, 10), dtype=bool)
    assert skip_margins(right_HN, [5.0, 2.0]) == [1.0]


@pytest.mark.parametrize(
    ("rows", "costs", "message"),
    [
        (1, [1.0, 2.0, 3.0], "not \\(1, 30\\)"),
        (2, [1.0, 2.0], "as many costs, not 2"),
        (2, [1.0, 0.0, 3.0], "costs above 0"),
        (2, [1.0, float("inf"), 3.0], "costs above 0"),
    ],
)
def test_sizes_and_costs_that_do_not_fit_are_refused(
    rows: int, costs: list[float], message: str
) -> None:
    prompts, right_HN = make_prompts(30, 5)
    with pytest.raises(ValueError, match=message):
        fit_entry_model(
            prompts,
            right_HN[:rows],
            costs,
            tiers=["small", "middle", "large"],
            vocabulary="v",
            ngrams=NGRAMS,
            bits=BITS,
        )
