"""The searches that the routing bench sets beside the planner's own."""

import itertools
import math

import pytest

from bench.planner.instances import curve_problem, synthetic_sample
from bench.planner.searches import MAX_ROUNDS, alternate, best_shared, held
from cascadia_sglang.planner.latency.curves import Curves
from cascadia_sglang.planner.problem.problem import Objective
from cascadia_sglang.planner.thresholds.exact import minimise
from cascadia_sglang.planner.thresholds.grid import GridPoints, penalised
from cascadia_sglang.planner.thresholds.penalty import first_position
from cascadia_sglang.planner.thresholds.replay import Replay, build_sample, threshold_grid


@pytest.mark.parametrize("objective", ["bottleneck", "path"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_alternation_ends_and_never_beats_the_proved_best(
    objective: Objective, seed: int
) -> None:
    rows = synthetic_sample(3, 200, seed)
    problem = curve_problem(rows, 8, objective, seed)
    sample, deploy = build_sample(rows), Curves(problem).deploy
    points = GridPoints(Replay(sample, threshold_grid(sample, 7)), deploy)
    start = first_position(points.replay)
    value = penalised(points, 1.0, 0.7, 100.0)
    ended = alternate(problem, points, deploy, value, start)
    proof = minimise(points, value)
    assert math.isinf(points.latency_s(start)) == (ended.rounds == 0)
    assert ended.rounds < MAX_ROUNDS
    assert ended.value >= proof.value


@pytest.mark.parametrize("objective", ["bottleneck", "path"])
def test_a_held_deployment_is_as_fast_as_its_tables_say(objective: Objective) -> None:
    rows = synthetic_sample(2, 50, 0)
    problem = curve_problem(rows, 8, objective, 0)
    first, second = Curves(problem).tables([1.0, 0.3])
    counts = [max(first), max(second)]
    deployed = held(problem, counts)([1.0, 0.3])
    first_s, second_s = first[counts[0]], second[counts[1]]
    assert deployed is not None
    assert deployed.latency_s == pytest.approx(
        max(first_s, second_s) if objective == "bottleneck" else first_s + 0.3 * second_s
    )
    assert held(problem, [99, 99])([1.0, 0.3]) is None


def test_one_threshold_is_the_best_that_all_tiers_can_share() -> None:
    rows = synthetic_sample(3, 60, 1)
    problem = curve_problem(rows, 16, "path", 1)
    sample, deploy = build_sample(rows), Curves(problem).deploy
    tried = sorted({0.0, 1.0, *itertools.chain(*sample.scores_NS.tolist())})
    points = GridPoints(Replay(sample, [tried] * 2), deploy)
    every = [points.at((index, index)) for index in range(len(tried))]
    best_s = min(point.latency_s for point in every if point.quality >= 0.7)
    assert best_shared(sample, deploy, 0.7, 60) == pytest.approx(best_s, rel=0.02)
