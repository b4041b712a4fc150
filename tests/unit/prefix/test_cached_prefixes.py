"""What workers hold of a prompt, told or guessed, and which prefixes are worth carrying."""

import random

from cascadia_sglang.prefix.cached_prefixes import GUESSED_BLOCK_TOKENS, HeldPrefixes
from cascadia_sglang.prefix.prompt import Prompt
from cascadia_sglang.prefix.recent import MAX_PROMPTS, RecentPrompts

SIZE = GUESSED_BLOCK_TOKENS


def make(*, has_events: bool, capacity_tokens: int = 10_000) -> HeldPrefixes:
    held = HeldPrefixes()
    held.add("w", SIZE if has_events else 1, capacity_tokens, has_events)
    return held


def prompt(*blocks: int) -> Prompt:
    return Prompt([block * 1000 + offset for block in blocks for offset in range(SIZE)])


def test_without_events_a_worker_holds_what_it_was_sent() -> None:
    held = make(has_events=False)
    assert held.tokens(prompt(1, 2, 3), ["w"]) == [0]
    held.learn_cached("w", prompt(1, 2, 3), promised=0, cached=0)
    assert held.tokens(prompt(1, 2, 9), ["w", "unknown"]) == [2 * SIZE, 0]
    assert held.tokens(None, ["w"]) == [0]
    assert held.guessed.made == 0


def test_what_an_attempt_does_not_find_is_a_stale_promise_and_is_learned_anew() -> None:
    held = make(has_events=False)
    held.learn_cached("w", prompt(1, 2, 3), promised=0, cached=0)
    held.learn_cached("w", prompt(1, 2, 3, 4), promised=3 * SIZE, cached=3 * SIZE - 1)
    assert (held.guessed.made, held.guessed.stale) == (1, 0)
    held.learn_cached("w", prompt(1, 2, 3, 4), promised=4 * SIZE, cached=SIZE)
    assert (held.guessed.made, held.guessed.stale) == (2, 1)
    assert held.guessed.stale_per_1000 == 500.0
    # It has just computed all of it.
    assert held.tokens(prompt(1, 2, 3, 4), ["w"]) == [4 * SIZE]


def test_a_guess_ends_where_the_workers_cache_does() -> None:
    held = make(has_events=False, capacity_tokens=10 * SIZE)
    for number in range(0, 30, 3):
        held.learn_cached("w", prompt(number, number + 1, number + 2), promised=0, cached=0)
    assert held.index.blocks <= 10
    assert held.tokens(prompt(27, 28, 29), ["w"]) == [3 * SIZE]
    assert held.tokens(prompt(0, 1, 2), ["w"]) == [0]


def test_with_events_nothing_is_guessed() -> None:
    held = make(has_events=True)
    held.learn_cached("w", prompt(1, 2), promised=0, cached=0)
    assert held.tokens(prompt(1, 2), ["w"]) == [0]
    held.index.stored("w", prompt(1, 2).hashes(SIZE))
    held.learn_cached("w", prompt(1, 2), promised=2 * SIZE, cached=0)
    assert held.tokens(prompt(1, 2), ["w"]) == [2 * SIZE]
    assert (held.reported.made, held.reported.stale, held.guessed.made) == (1, 1, 0)


def test_what_was_just_computed_is_expected_there() -> None:
    for has_events in (False, True):
        held = make(has_events=has_events)
        held.expect("w", prompt(1, 2, 3), 2 * SIZE + 5)
        assert held.tokens(prompt(1, 2, 3), ["w"]) == [2 * SIZE]
        held.drop("w")
        assert held.tokens(prompt(1, 2, 3), ["w"]) == [0]
        held.expect("w", prompt(1, 2, 3), 2 * SIZE)
        assert held.index.blocks == 0


def test_the_hottest_prefixes_are_those_that_many_prompts_share() -> None:
    recent = RecentPrompts()
    for number in range(10):
        recent.add(prompt(1, 2, 100 + number))
    recent.add(prompt(5, 6, 7))
    recent.add(prompt(5, 6, 7, 8))
    recent.add(prompt(9, 10, 11))  # nobody shares it
    hottest = [tuple(ids) for ids in recent.hottest(SIZE)]
    # The newest that begins so stands for all ten.
    assert hottest[0] == tuple(prompt(1, 2, 109).token_ids)
    assert tuple(prompt(5, 6, 7, 8).token_ids) in hottest
    assert tuple(prompt(5, 6, 7).token_ids) not in hottest
    assert tuple(prompt(9, 10, 11).token_ids) not in hottest


def test_old_prompts_make_room() -> None:
    recent = RecentPrompts()
    rng = random.Random(0)
    for _ in range(2 * MAX_PROMPTS):
        recent.add(prompt(rng.randrange(10**6)))
    recent.add(prompt(1, 2))
    recent.add(prompt(1, 2))
    assert len(recent.hottest(SIZE)) == 1
