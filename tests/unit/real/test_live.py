"""Two real models live: settings, ceilings and steps, against slower ways to say the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.real.judge_quality import MODELS, column
from bench.real.live.ceilings import JUDGE, RULE, WITH_DRAFTS, Replay, begins_alike, ceilings
from bench.real.live.choice import (
    CHOOSE,
    FIT,
    ROUTER,
    TEST,
    Records,
    at_equal_accuracy,
    load_records,
)
from bench.real.live.groups import CASCADES, FRONTS, LARGE, SMALL
from bench.real.live.live_questions import live_questions, taken
from bench.real.live.report import CLOSED, OPEN, comparison
from bench.real.live.steps import OneAtATime, PlayedStep, Step, play_missing, steps, time_left_s
from bench.rivals.fronts import ngrams
from bench.rivals.system import PlayedRound
from cascadia_sglang.arrays import BoolArray, FloatArray

DEMO_MODEL = Path("demo/models/small")


@pytest.fixture(scope="module")
def records() -> Records:
    return load_records(MODELS, every=5)


def brute_force(
    scores: FloatArray, right: BoolArray, costs: list[float], floor: float, *, is_router: bool
) -> float:
    """The least mean cost with the floor kept, question by question at every threshold."""
    least = float("inf")
    for threshold in [-np.inf, *scores, np.inf]:
        correct = cost = 0.0
        for score, (small, large) in zip(scores, right, strict=True):
            if score >= threshold:
                correct, cost = correct + small, cost + costs[0]
            else:
                correct, cost = correct + large, cost + costs[1]
                cost += 0.0 if is_router else costs[0]
        if correct / len(scores) >= floor - 1e-12:
            least = min(least, cost / len(scores))
    return least


@pytest.mark.parametrize("margin", [0.02, 0.05, 0.2])
def test_every_system_has_the_cheapest_setting_that_keeps_the_floor_on_the_records(
    records: Records, margin: float
) -> None:
    rows = records.rows(CHOOSE)
    smaller, right = records.pool.tiers[0].take(rows), records.labels(rows)
    costs, floor = records.costs_s(rows), float(right[:, 1].mean()) - margin
    kinds = np.array([records.questions[row].kind for row in rows])
    share_of_kind = {kind: right[kinds == kind, 0].mean() for kind in set(kinds)}
    scores = {
        "mean": column("mean_logprob")(smaller),
        "least": column("min_logprob")(smaller),
        # Many are equal.
        ROUTER: np.array([share_of_kind[kind] for kind in kinds]),
    }
    settings = at_equal_accuracy(scores, right, costs, floor)
    assert set(settings) == set(scores)
    for name, setting in settings.items():
        is_router = name == ROUTER
        larger = scores[name] < setting.threshold
        accuracy = np.where(larger, right[:, 1], right[:, 0]).mean()
        cost = larger.mean() * costs[1] + (1.0 if not is_router else (~larger).mean()) * costs[0]
        assert accuracy >= floor - 1e-12
        assert (setting.accuracy, setting.at_larger) == pytest.approx((accuracy, larger.mean()))
        assert cost == pytest.approx(
            brute_force(scores[name], right, costs, floor, is_router=is_router)
        )


def test_nothing_that_is_asked_live_has_fitted_or_chosen_and_loops_share_no_question(
    records: Records,
) -> None:
    parts = [set(records.rows(part).tolist()) for part in (FIT, CHOOSE, TEST)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(records.questions)
    prompts = [str(row) for row in range(len(records.questions))]
    asked = live_questions(records, prompts)
    assert {int(each.prompt) for each in asked} == parts[2]
    assert all(each.question.part == "test" for each in asked)
    loops = [taken(asked, number, 20) for number in range(len(asked) // 20)]
    assert len({each.prompt for loop in loops for each in loop}) == 20 * len(loops)
    # Then the first come again.
    assert taken(asked, len(loops), 20)[len(asked) % 20] == asked[0]


def test_ceilings_are_what_a_clock_would_show_for_tiers_in_turn() -> None:
    rng = np.random.default_rng(0)
    small, large = rng.random(500) < 0.4, rng.random(500) < 0.7
    tokens = rng.integers(1, 30, size=500)
    kept = rng.integers(0, tokens + 1)
    replay = Replay(small_N=small, large_N=large, tokens_N=tokens, kept_N=kept)
    found = ceilings(replay, small_per_s=8.0, large_per_s=2.0, decoding=0.6)
    for name, climbs in ((JUDGE, ~small), (RULE, large & ~small)):
        seconds = saved = right = 0.0
        share = kept[climbs].sum() / tokens[climbs].sum()
        for index in range(500):
            seconds += 1 / 8.0
            if climbs[index]:
                seconds += 1 / 2.0
                saved += 0.6 * share / 2.0
            right += large[index] if climbs[index] else small[index]
        assert found[name].requests_per_s == pytest.approx(500 / seconds)
        assert found[name + WITH_DRAFTS].requests_per_s == pytest.approx(500 / (seconds - saved))
        assert found[name].accuracy == found[name + WITH_DRAFTS].accuracy == right / 500


@pytest.mark.parametrize(
    ("first", "second", "same"), [([], [1], 0), ([1, 2, 3], [1, 2], 2), ([1, 2, 4], [1, 3, 4], 1)]
)
def test_a_draft_gives_the_tokens_up_to_the_first_difference(
    first: list[int], second: list[int], same: int
) -> None:
    assert begins_alike(first, second) == begins_alike(second, first) == same


def played(step: Step, rate: float = 4.0) -> PlayedStep:
    """A step of one system; the smaller tier is asked in no open loop."""
    name = {LARGE: "large alone", CASCADES: "Cascadia", FRONTS: "proxy", SMALL: "small alone"}
    played_round = PlayedRound(
        right=[1.0, 0.0],
        latencies_ms=[100.0, 300.0],
        first_ms=[50.0, 60.0],
        requests_per_s=rate + step.number,
        cpu_s={"front": 0.1},
        answered_tokens=4,
        generated_tokens=8,
    )
    cases = (CLOSED,) if step.group == SMALL else (CLOSED, OPEN.case)
    is_first = step == Step(number=0, group=LARGE)
    return PlayedStep(
        step=step,
        seconds=60.0 if step.group == LARGE else 120.0,
        rounds={name[step.group]: dict.fromkeys(cases, played_round)},
        memory_gb={name[step.group]: 3.0},
        one_at_a_time=OneAtATime(latencies_ms=[100.0, 300.0], first_ms=[40.0, 60.0])
        if is_first
        else None,
    )


def test_the_first_step_is_the_larger_tier_and_every_group_has_every_place() -> None:
    planned = steps(3)
    assert planned[0].group == LARGE
    assert [step.group for step in planned].count(SMALL) == 1
    rounds = [[s.group for s in planned if s.number == n and s.group != SMALL] for n in range(3)]
    assert all(set(place) == {LARGE, CASCADES, FRONTS} for place in zip(*rounds, strict=True))


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    planned, asked = steps(2), []

    def play(step: Step, done: list[PlayedStep]) -> PlayedStep:
        assert [each.step for each in done] == planned[: len(done)]
        if len(asked) == 3:
            raise KeyboardInterrupt
        asked.append(step)
        return played(step)

    path = tmp_path / "live.json"
    with pytest.raises(KeyboardInterrupt):
        play_missing(path, planned, 40.0, play)
    assert asked == planned[:3]
    asked.clear()
    # A step begins even where it is likely to end too late: else no part would get on.
    assert play_missing(path, planned, 0.0, play) is None
    assert asked == planned[3:4]
    asked.clear()
    assert [each.step for each in play_missing(path, planned, 40.0, play) or ()] == planned
    assert asked == planned[4:]
    assert play_missing(path, planned, 40.0, play) == [played(step) for step in planned]


def test_what_is_left_takes_as_long_as_the_same_group_took_or_else_the_mean() -> None:
    done = [played(step) for step in steps(1, with_small=False)]
    assert time_left_s([], []) is None
    missing = [Step(number=1, group=LARGE), Step(number=0, group=SMALL)]
    assert time_left_s(missing, done) == pytest.approx(60.0 + 100.0)


def test_rounds_stand_in_their_order_the_cascade_first_and_the_larger_tier_last() -> None:
    every = np.ones(2, dtype=bool)
    tokens = np.ones(2, dtype=int)
    replay = Replay(small_N=every, large_N=every, tokens_N=tokens, kept_N=tokens)
    done = [played(step) for step in steps(3)]
    result = comparison(None, done[::-1], replay)
    names = [system.name for system in result.systems]
    assert names == ["Cascadia", "proxy", "small alone", "large alone"]
    rates = [each.requests_per_s for each in result.systems[0].rounds[CLOSED]]
    assert rates == [4.0, 5.0, 6.0]
    assert result.one_at_a_time.decoding == pytest.approx(0.75)
    # All smaller answers are right, so nothing climbs.
    assert result.ceilings[JUDGE].requests_per_s == pytest.approx(4.0)


def test_a_router_reads_any_models_tokens(tmp_path: Path) -> None:
    """With the demo's own tokenizer, as it does without one."""
    prompts = [f"{'add' if number % 2 else 'get'} {number} 7" for number in range(200)]
    right_HN = np.array([[number % 2 == 1 for number in range(200)]])
    path = tmp_path / "ngrams.json"
    ngrams.fit(prompts, right_HN, path, DEMO_MODEL)
    by_folder, by_default = ngrams.load(path, DEMO_MODEL), ngrams.load(path)
    chances = [by_folder(prompt)[0] for prompt in prompts]
    assert min(chances[1::2]) > max(chances[::2])
    assert chances == [by_default(prompt)[0] for prompt in prompts]
