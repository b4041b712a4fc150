"""How long the answers are that a window's requests are on their way to."""

import dataclasses

import pytest

from cascadia_sglang.controller.monitor import RecordedRequest, RecordedVisit
from cascadia_sglang.controller.window import Traffic, plan_request
from cascadia_sglang.controller.window_lengths import prompt_lengths
from tests.unit.controller.windows import make_config, serving, tiers


def visit(tier: int, tokens: int, *, ended_early: bool = False) -> RecordedVisit:
    return RecordedVisit(
        tier_index=tier,
        score=None if ended_early else 0.2,
        output_tokens=tokens,
        seconds=0.5,
        prompt_tokens=30,
        cached_tokens=0,
        ended_early=ended_early,
    )


def seen(number: int, *visits: RecordedVisit, is_open: bool = False) -> RecordedRequest:
    return RecordedRequest(
        at_s=number / 10, seconds=0.5, input_tokens=30, visits=tuple(visits), is_open=is_open
    )


def planned_tokens(window: list[RecordedRequest]) -> list[list[int]]:
    """What each is planned to write at both tiers."""
    request = plan_request(
        make_config(), tiers(), serving(2, 2), Traffic(requests=window, rate_per_s=10.0)
    )
    return request.tokens_RT


def test_a_long_answer_that_is_not_there_yet_is_not_taken_for_a_short_one():
    """A window of seconds holds the larger tier's short answers alone."""
    ended = [seen(number, visit(0, 10), visit(1, 12)) for number in range(20)]
    climbing = [seen(20 + number, visit(0, 100), is_open=True) for number in range(20)]
    assert planned_tokens([*ended, *climbing])[20:] == [[100, 120]] * 20


def test_where_nothing_is_there_yet_answers_are_as_long_as_below():
    climbing = [seen(number, visit(0, 40), is_open=True) for number in range(30)]
    assert planned_tokens(climbing) == [[40, 40]] * 30


def test_an_answer_that_was_ended_early_would_have_been_as_long_as_others():
    ended = [seen(number, visit(0, 50), visit(1, 100)) for number in range(30)]
    early = seen(30, visit(0, 4, ended_early=True), is_open=True)
    late = seen(31, visit(0, 70, ended_early=True), is_open=True)
    assert planned_tokens([*ended, early, late])[30:] == [[4, 100], [70, 140]]


@pytest.mark.parametrize("written", [0, 1])
def test_every_visit_writes_a_token(written):
    window = [seen(number, visit(0, written)) for number in range(30)]
    assert planned_tokens(window) == [[1, 0]] * 30


def test_what_a_cache_held_is_a_share_of_the_tiers_own_tokens():
    """A prompt of 30 tokens at the first tier is one of 60 at the next, which has 30 of them."""
    second = dataclasses.replace(visit(1, 10), prompt_tokens=60, cached_tokens=30)
    window = [seen(number, visit(0, 10), second) for number in range(30)]
    request = plan_request(
        make_config(), tiers(), serving(2, 2), Traffic(requests=window, rate_per_s=10.0)
    )
    assert request.cached_share_T == [0.0, 0.5]


@pytest.mark.parametrize(("devices", "budget"), [(3, 3), (4, 4), (128, 4)])
def test_no_plan_is_asked_for_devices_that_are_away(devices, budget):
    window = Traffic(requests=[seen(number, visit(0, 10)) for number in range(30)], rate_per_s=10.0)
    request = plan_request(make_config(), tiers(), serving(2, 2, devices), window)
    assert request.gpu_budget == budget


def test_prompts_are_counted_as_each_tier_counts_them():
    """Where the large tier makes twice as many tokens of a prompt, those of a request that it saw
    first are counted as the small one would."""
    twice = dataclasses.replace(visit(1, 10), prompt_tokens=60)
    window = [seen(number, visit(0, 10), twice) for number in range(29)]
    pinned = dataclasses.replace(seen(29, twice), input_tokens=60)
    request = plan_request(
        make_config(), tiers(), serving(2, 2), Traffic(requests=[*window, pinned], rate_per_s=10.0)
    )
    assert request.prompt_length_T == [1.0, 2.0]
    assert request.input_tokens_R == [30] * 30


def test_a_prompt_that_no_request_took_to_a_tier_counts_as_below():
    window = [seen(number, visit(0, 10)) for number in range(30)]
    assert prompt_lengths(window, ["small", "large"]) == [1.0, 1.0]


def test_tiers_that_share_workers_count_alike():
    twice = dataclasses.replace(visit(1, 10), prompt_tokens=60)
    window = [seen(number, visit(0, 10), twice) for number in range(30)]
    assert prompt_lengths(window, ["both", "both"]) == [1.0, 1.0]
