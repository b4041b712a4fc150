"""Drafts are read where that pays, and seldom where it does not."""

import pytest

from cascadia_sglang.config.routing_settings import DraftsConfig
from cascadia_sglang.drafts.policy import EXPLORE, DraftPolicy

ALWAYS = DraftsConfig(use="on")
AUTO = DraftsConfig(use="auto")


def test_enabled_reads_whatever_it_costs() -> None:
    worth = DraftPolicy(ALWAYS, 2)
    assert worth.is_worth_reading(1, 0.0, 100.0)


def test_auto_reads_while_nothing_is_known_of_the_cost() -> None:
    assert DraftPolicy(AUTO, 2).is_worth_reading(1, None, None)


@pytest.mark.parametrize(("agreed", "is_read"), [(30, True), (10, False)])
def test_auto_compares_what_is_kept_with_the_break_even(agreed: int, is_read: bool) -> None:
    worth = DraftPolicy(AUTO, 2)
    for _ in range(1000):
        worth.learn(1, 100, agreed)
    assert worth.is_worth_reading(1, None, 0.2) is is_read


def test_what_does_not_pay_is_read_now_and_then_and_counted() -> None:
    worth = DraftPolicy(AUTO, 2)
    reads = [worth.is_worth_reading(1, None, 2.0) for _ in range(10 * EXPLORE)]
    assert sum(reads) == 10
    assert worth.counts[1].left == 10 * EXPLORE


def test_a_tier_that_agrees_again_is_found_out() -> None:
    worth = DraftPolicy(AUTO, 2)
    for _ in range(1000):
        worth.learn(1, 100, 0)
    for _ in range(1000):
        worth.learn(1, 100, 100)
    assert worth.is_worth_reading(1, None, 0.9)


def test_every_tier_is_judged_by_itself() -> None:
    worth = DraftPolicy(AUTO, 3)
    for _ in range(1000):
        worth.learn(1, 100, 0)
    assert not worth.is_worth_reading(1, None, 0.4)
    assert worth.is_worth_reading(2, None, 0.4)


def test_a_score_below_low_is_never_read() -> None:
    worth = DraftPolicy(DraftsConfig(use="on", low=0.2), 2)
    assert not worth.is_worth_reading(1, 0.1, None)
    assert worth.is_worth_reading(1, 0.2, None)
    assert worth.is_worth_reading(1, None, None)


def test_counts_say_what_became_of_the_drafts() -> None:
    worth = DraftPolicy(ALWAYS, 2)
    worth.is_worth_reading(1, 0.5, 0.25)
    assert worth.counts[1].break_even == 0.25
    worth.learn(1, 8, 8)
    worth.learn(1, 8, 3)
    worth.learn(1, 4, 4, confirmed=True)
    counts = worth.counts[1]
    assert (counts.read, counts.verified, counts.confirmed) == (3, 2, 1)
    assert (counts.read_tokens, counts.kept_tokens) == (20, 15)
