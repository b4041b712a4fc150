"""What the benches of moves count, on replies made up for it."""

import numpy as np
import pytest

from bench.harness.client import Reply, Round
from bench.reallocation.drift_report import DriftRuns, Run
from bench.reallocation.moves import HERE, LOAD, THERE, Movers, numbers
from bench.reallocation.phases import EASY, HARD, Phase, trace

MOST = {HERE: 50.0, THERE: 30.0}


def reply(seconds: float, status: int = 200) -> Reply:
    return Reply(raw=b"HTTP/1.1 %d OK\r\n\r\n" % status, seconds=seconds, first_byte_s=seconds)


def test_a_request_counts_as_moving_if_it_was_under_way_at_any_time_of_a_move():
    at_s = np.arange(0.0, 100.0)
    # One second each, three while a worker moves from 50 to 60; one fails.
    replies = [reply(3.0 if 49.5 <= at <= 60 else 1.0, 503 if at == 80 else 200) for at in at_s]
    movers = Movers(0, [50.0], [(50.0, 60.0)])
    result = numbers(at_s, Round(replies=replies, seconds=101.0), movers, MOST)
    assert result["rate"][1].p50 == pytest.approx(LOAD * 30.0)
    assert result["the plan before carries"][1].p50 == 50.0
    assert result["the plan moved to carries"][1].p50 == 30.0
    values = {name: value.p50 for name, (_, value) in result.items()}
    assert values["failed requests"] == 1
    assert values["e2e_p95 before"] == pytest.approx(1000.0)
    assert values["e2e_p95 while moving"] == pytest.approx(3000.0)
    assert values["e2e_p95 while moving / before"] == pytest.approx(3.0)
    assert values["longest move"] == pytest.approx(10.0)
    # 49 is under way when the move begins.
    assert result["e2e_p95 while moving"][1].n == 12


def test_long_requests_are_as_many_among_those_before_a_move_as_among_those_while_moving():
    """One in twenty-five takes 20 s; of those under way in 5 s they are one in six."""
    at_s = np.arange(0.0, 600.0, 0.1)
    replies = [reply(20.0 if row % 25 == 0 else 1.0) for row in range(len(at_s))]
    movers = Movers(0, [], [(300.0, 305.0), (400.0, 405.0)])
    result = numbers(at_s, Round(replies=replies, seconds=620.0), movers, MOST)
    values = {name: value.p50 for name, (_, value) in result.items()}
    assert np.quantile([reply.seconds for reply in replies], 0.95) == 1.0
    assert values["e2e_p95 while moving"] == pytest.approx(20_000.0)
    assert values["e2e_p95 while moving / before"] == pytest.approx(1.0)
    assert values["e2e_p95 of all from the first move on / before"] == pytest.approx(1.0)


def test_a_trace_has_its_rates_phase_by_phase_and_every_seed_its_own():
    phases = [
        Phase(families=mix, rate_per_s=rate, seconds=seconds)
        for mix, rate, seconds in ((EASY, 4.0, 10.0), (HARD, 8.0, 10.0), (EASY, 8.0, 20.0))
    ]
    made = trace(phases, seed=3)
    assert made.at_s == sorted(made.at_s)
    counts, _ = np.histogram(made.at_s, bins=4, range=(0.0, 40.0))
    assert counts.tolist()[:2] == [40, 80]
    assert sum(counts[2:]) == 160
    assert trace(phases, seed=3) == made
    assert trace(phases, seed=4) != made
    families = [question.family for question in made.questions]
    assert set(families[:40]) <= set(EASY)
    assert set(families[40:120]) == set(HARD)


def test_the_best_fixed_split_is_the_best_on_average_and_gains_are_paired():
    def runs(*attained: float) -> list[Run]:
        return [Run(attained=a, p95_s=1.0, right=1.0, failed=0, moves=0) for a in attained]

    made = {"re-planning": runs(1.0, 0.5), "fixed, a": runs(0.9, 0.1), "fixed, b": runs(0.6, 0.6)}
    outcome = DriftRuns(rates=(1.0, 2.0, 3.0), runs=made)
    assert outcome.best_fixed() == "fixed, b"
    assert outcome.gains("re-planning") == pytest.approx([0.4, -0.1])
