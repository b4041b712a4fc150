"""APGR and CPT, against a router that really calls the models."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bench.entry.curve import curve


def routed_accuracy(order: list[int], calls: int, weak: list[int], strong: list[int]) -> float:
    """Accuracy where the first `calls` prompts of this order go to the strong model."""
    chosen = set(order[:calls])
    return sum(strong[i] if i in chosen else weak[i] for i in range(len(weak))) / len(weak)


def test_curve_is_that_of_routing_prompt_by_prompt() -> None:
    rng = np.random.default_rng(0)
    weak_N, strong_N = rng.random(40) < 0.5, rng.random(40) < 0.8
    need_N = rng.permutation(40).astype(float)
    weak, strong = weak_N.astype(int).tolist(), strong_N.astype(int).tolist()
    order = sorted(range(40), key=lambda i: -need_N[i])
    low, high = np.mean(weak), np.mean(strong)
    made = curve(need_N, weak_N, strong_N, bins=40)
    expected = [
        (routed_accuracy(order, calls, weak, strong) - low) / (high - low) for calls in range(41)
    ]
    np.testing.assert_allclose(made.gap_P, expected, atol=1e-12)
    area = sum((a + b) / 2 / 40 for a, b in itertools.pairwise(expected))
    assert made.apgr() == pytest.approx(area)


def test_equal_needs_gain_the_mean_over_all_their_orders() -> None:
    weak_N, strong_N = np.array([1, 0, 0, 0], bool), np.array([1, 1, 0, 1], bool)
    need_N = np.array([1.0, 1.0, 1.0, 0.0])
    weak, strong = weak_N.astype(int).tolist(), strong_N.astype(int).tolist()
    curves = [
        [routed_accuracy([*tied, 3], calls, weak, strong) for calls in range(5)]
        for tied in itertools.permutations(range(3))
    ]
    expected = (np.mean(curves, axis=0) - 0.25) / 0.5
    np.testing.assert_allclose(curve(need_N, weak_N, strong_N, bins=4).gap_P, expected)


def test_no_preference_is_random() -> None:
    rng = np.random.default_rng(1)
    made = curve(np.zeros(500), rng.random(500) < 0.5, rng.random(500) < 0.9)
    assert made.apgr() == pytest.approx(0.5)
    assert made.cpt(0.5) == pytest.approx(0.5)
    assert made.cpt(0.8) == pytest.approx(0.8)


def test_a_router_that_knows_recovers_the_gap_with_the_calls_it_takes() -> None:
    weak_N = np.arange(100) < 60
    made = curve(1.0 - weak_N, weak_N, np.ones(100, bool))
    assert made.cpt(1.0) == pytest.approx(0.4)
    assert made.cpt(0.5) == pytest.approx(0.2)
    assert made.apgr() == pytest.approx(0.4 / 2 + 0.6)


def test_cpt_is_the_first_crossing_of_a_curve_that_falls_again() -> None:
    weak_N = np.array([0, 0, 1, 0], bool)
    strong_N = np.array([1, 1, 0, 1], bool)
    made = curve(np.array([4.0, 3.0, 2.0, 1.0]), weak_N, strong_N, bins=4)
    np.testing.assert_allclose(made.gap_P, [0, 0.5, 1.0, 0.5, 1.0])
    assert made.cpt(0.5) == pytest.approx(0.25)
    assert made.cpt(0.8) == pytest.approx(0.4)


def test_a_strong_model_that_is_no_better_is_refused() -> None:
    right_N = np.array([True, False])
    with pytest.raises(ValueError, match="no more prompts right"):
        curve(np.zeros(2), right_N, right_N)
