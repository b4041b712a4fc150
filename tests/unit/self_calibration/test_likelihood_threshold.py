"""The likelihood that goes along with agreement is that of short answers."""

import numpy as np
import pytest

from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.self_calibration.label import DEFAULT_LIKELY, Label, VisitLabel
from cascadia_sglang.self_calibration.likelihood_threshold import MIN_KIND, choose_likely

ZEROS = [[0.0] * len(FEATURES)]


def label(same: bool | None, likelihood: float | None, chance: float = 1.0) -> Label:
    visit = VisitLabel(tier=0, tokens=[3], features=ZEROS, same=same, likelihood=likelihood)
    return Label(prompt="p", chance=chance, least_chance=chance, draw=0.5, visits=[visit])


def test_it_divides_what_the_words_divide() -> None:
    labels = [label(True, -0.1 - 0.01 * n) for n in range(30)]
    labels += [label(False, -1.0 - 0.01 * n) for n in range(30)]
    likely = choose_likely(labels)
    assert -1.0 < likely.threshold < -0.39
    assert (likely.short, likely.same) == (60, 1.0)
    assert label(None, -0.2).visits[0].agrees(likely.threshold) is True
    assert label(None, -2.0).visits[0].agrees(likely.threshold) is False


def test_it_is_the_threshold_of_the_most_agreement_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=300).round(1)
    same = rng.random(300) < 1 / (1 + np.exp(-2 * values - 1))
    chances = rng.choice([0.02, 1.0], size=300)
    labels = [label(bool(s), float(v), c) for v, s, c in zip(values, same, chances, strict=True)]
    likely = choose_likely(labels)
    weight = 1 / chances
    shares = [weight[(values >= cut) == same].sum() for cut in [*np.unique(values), 99.0]]
    assert likely.same == pytest.approx(max(shares) / weight.sum())
    chosen = weight[(values >= likely.threshold) == same].sum() / weight.sum()
    assert chosen == pytest.approx(likely.same)


@pytest.mark.parametrize(("agreeing", "differing"), [(MIN_KIND, MIN_KIND - 1), (0, 0), (99, 0)])
def test_with_too_few_of_a_kind_it_is_the_default(agreeing: int, differing: int) -> None:
    labels = [label(True, -0.1)] * agreeing + [label(False, -2.0)] * differing
    likely = choose_likely(labels)
    assert (likely.threshold, likely.short, likely.same) == (DEFAULT_LIKELY, 0, None)


def test_where_every_likelihood_is_the_same_the_more_frequent_kind_wins() -> None:
    labels = [label(True, -0.5)] * 50 + [label(False, -0.5)] * 30
    assert choose_likely(labels).threshold <= -0.5
    labels = [label(True, -0.5)] * 30 + [label(False, -0.5)] * 50
    assert choose_likely(labels).threshold > -0.5


def test_long_answers_and_unread_ones_choose_nothing() -> None:
    labels = [label(None, -0.1)] * 100 + [label(True, None)] * 100
    assert choose_likely(labels).short == 0
