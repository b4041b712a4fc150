"""What is asked, and when."""

import numpy as np
import pytest

from bench.prefix.chats import TURNS
from bench.rivals.azure import FOLDER, TRACES
from bench.rivals.workloads import AZURE, BURSTS, CHATS, MIXES, POISSON, arrivals_s, load, questions
from cascadia_sglang.planner.workload.traces import load_trace


@pytest.mark.parametrize("mix", MIXES)
def test_as_many_as_asked_for_and_the_same_again(mix: str) -> None:
    drawn = questions(mix, 5, 21)
    assert len(drawn) == 21
    assert drawn == questions(mix, 5, 21)
    assert drawn != questions(mix, 6, 21)


def test_first_turns_come_before_second_ones_over_the_same_system_messages() -> None:
    drawn = questions(CHATS, 1, 3 * TURNS)
    for turn in range(1, TURNS):
        for chat in range(3):
            earlier, later = drawn[3 * (turn - 1) + chat], drawn[3 * turn + chat]
            assert later.prompt.startswith(f"{earlier.prompt}\n{earlier.answer}\n")


def test_bursts_have_the_rate_and_the_deviation_that_were_asked_for() -> None:
    times_s = np.array(arrivals_s(8.0, 100_000, 1, 3.0))
    assert times_s[-1] == pytest.approx(100_000 / 8.0)
    gaps_s = np.diff(times_s)
    assert gaps_s.min() >= 0.0
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(3.0, rel=0.05)


def test_without_bursts_it_is_a_poisson_process() -> None:
    gaps_s = np.diff(load(POISSON, 8.0, 20_000, 1, 0)[1])
    assert gaps_s.mean() == pytest.approx(1 / 8.0, rel=0.02)
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize("arrivals", [POISSON, BURSTS, *AZURE])
def test_every_kind_of_arrivals_asks_as_many_at_rising_times_near_the_rate(arrivals: str) -> None:
    drawn, at_s = load(arrivals, 8.0, 50, 3, 1)
    assert len(drawn) == len(at_s) == 50
    assert at_s == sorted(at_s)
    assert 50 / at_s[-1] == pytest.approx(8.0, rel=0.4)
    assert (drawn, at_s) == load(arrivals, 8.0, 50, 3, 1)


@pytest.mark.parametrize("trace", TRACES)
def test_prompts_are_as_many_times_as_long_as_answers_as_in_the_trace(trace: str) -> None:
    traced = load_trace(FOLDER / f"{trace}.csv")
    part, count = 2, 50
    drawn, at_s = load(f"like Azure's {trace}", 8.0, count, 3, part)
    chosen = slice(part * count, (part + 1) * count)
    expected = traced.input_tokens_R[chosen] / traced.output_tokens_R[chosen]
    got = np.array([len(row.prompt) / len(row.answer) for row in drawn])
    within = (expected > 1.2) & (expected < 350)  # the questions have such ratios
    assert within.mean() > 0.7
    assert np.abs(np.log(got / expected))[within].max() < np.log(1.35)
    gaps_s = np.diff(traced.arrival_s_R)[part * count : (part + 1) * count - 1]
    assert np.diff(at_s) / np.diff(at_s).sum() == pytest.approx(gaps_s / gaps_s.sum())


def test_after_the_last_request_of_a_trace_come_the_first() -> None:
    drawn, at_s = load(next(iter(AZURE)), 8.0, 50, 3, 6)
    assert len(drawn) == 50
    assert min(np.diff(at_s)) >= 0.0
