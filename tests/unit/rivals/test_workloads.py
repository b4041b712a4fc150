"""What is asked, and when."""

import numpy as np
import pytest

from bench.prefix.chats import TURNS
from bench.rivals.workloads import CHATS, MIXES, arrivals_s, questions


@pytest.mark.parametrize("mix", MIXES)
def test_as_many_as_asked_for_and_the_same_again(mix: str) -> None:
    asked = questions(mix, 5, 21)
    assert len(asked) == 21
    assert asked == questions(mix, 5, 21)
    assert asked != questions(mix, 6, 21)


def test_first_turns_come_before_second_ones_over_the_same_system_messages() -> None:
    asked = questions(CHATS, 1, 3 * TURNS)
    for turn in range(1, TURNS):
        for one in range(3):
            earlier, later = asked[3 * (turn - 1) + one], asked[3 * turn + one]
            assert later.prompt.startswith(f"{earlier.prompt}\n{earlier.answer}\n")


def test_bursts_have_the_rate_and_the_deviation_that_were_asked_for() -> None:
    times_s = np.array(arrivals_s(8.0, 100_000, 1, 3.0))
    assert times_s[-1] == pytest.approx(100_000 / 8.0)
    gaps_s = np.diff(times_s)
    assert gaps_s.min() >= 0.0
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(3.0, rel=0.05)


def test_without_bursts_it_is_a_poisson_process() -> None:
    gaps_s = np.diff(arrivals_s(8.0, 100_000, 1))
    assert gaps_s.mean() == pytest.approx(1 / 8.0, rel=0.02)
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(1.0, rel=0.02)
