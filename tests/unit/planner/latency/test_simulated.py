"""Shapes of a pool, and the best deployment by their surfaces, against enumeration."""

import itertools
import json
import math

import pytest

from bench.planner.fleet import LLAMA_8B, LLAMA_70B
from cascadia_sglang.errors import ConfigError, InfeasiblePlanError
from cascadia_sglang.planner.deployment.incumbent import best_picks
from cascadia_sglang.planner.latency.shapes import shapes_of_pools
from cascadia_sglang.planner.latency.simulated import ShapeLatencies
from cascadia_sglang.planner.whole.neighbours import neighbours
from cascadia_sglang.planner.workload.workload import build_workload
from tests.unit.planner.problems import problem_of
from tests.unit.planner.whole_problems import flat_surface, made_shape, workload_problem

LOAD = build_workload([0, 1, 2], [100, 200, 300], [10, 20, 30])
NODES = [
    {"gpu": "H100", "nodes": 1, "gpus_per_node": 4},
    {"gpu": "L40S", "nodes": 1, "gpus_per_node": 3},
]


def _keys(shapes):
    return {
        pool: {(s.gpu, s.tp, s.pp) for s in pool_shapes} for pool, pool_shapes in shapes.items()
    }


def test_tensor_parallelism_divides_heads_and_node_and_weights_need_their_devices():
    keys = _keys(shapes_of_pools(workload_problem(), LOAD))
    assert keys["small"] == {("H100", tp, 1) for tp in (1, 2, 4, 8)}
    # 141 GB of weights: two devices hold them with little room, as one stage or as two.
    assert keys["large"] == {("H100", 8, 1), ("H100", 4, 1), ("H100", 2, 2), ("H100", 1, 4)}
    six = [{"gpu": "H100", "nodes": 2, "gpus_per_node": 6}]
    keys = _keys(shapes_of_pools(workload_problem(cluster=six), LOAD))
    assert {tp for _, tp, _ in keys["small"]} == {1, 2}


def test_limits_of_parallelism_are_kept():
    tiers = [{"name": "small", "model": LLAMA_8B, "max_tp": 2, "max_pp": 2}]
    problem = workload_problem(tiers=tiers, calibration=[{"scores": [], "correct": [1]}])
    keys = _keys(shapes_of_pools(problem, LOAD))
    assert keys["small"] == {("H100", tp, pp) for tp in (1, 2) for pp in (1, 2)}


def test_a_shape_whose_cache_is_too_small_for_a_request_is_left_out():
    long = build_workload([0, 1], [500_000, 10], [10, 10])
    assert ("H100", 1, 1) not in _keys(shapes_of_pools(workload_problem(), long))["small"]
    endless = build_workload([0, 1], [50_000_000, 10], [10, 10])
    with pytest.raises(InfeasiblePlanError, match="longest request has 50000011 tokens"):
        shapes_of_pools(workload_problem(), endless)


def test_a_roofline_goes_no_lower_than_the_work_of_the_host():
    """The small model's weights are read in less, on any number of devices."""
    free, held = (
        shapes_of_pools(workload_problem(gpu={"name": "H100", "host_step_ms": ms}), LOAD)["small"]
        for ms in (0.0, 8.0)
    )
    assert min(shape.times.decode_s(1) for shape in free) < 0.008
    assert {shape.times.decode_s(1) for shape in held} == {0.008}


def test_a_profile_stands_in_the_rooflines_place(tmp_path):
    profile = {
        "version": 1,
        "device": "made up",
        "tiers": {"small": {"decode_ms": [[1, 7.0]], "prefill_ms": [[1, 9.0]]}},
        "limits": {"small": {"kv_tokens": 9000, "max_running_requests": 8}},
    }
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(profile))
    problem = workload_problem(profiles=[{"path": str(path), "tp_size": 2}])
    shapes = shapes_of_pools(problem, LOAD)
    assert len(shapes["small"]) == 4
    (measured,) = [shape for shape in shapes["small"] if shape.is_measured]
    assert (measured.tp, measured.times.decode_ms) == (2, [(1, 7.0)])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cluster": [{"gpu": "T4", "nodes": 1, "gpus_per_node": 8}]}, "gpu 'T4' of cluster"),
        (
            {
                "tiers": [
                    {"name": "a", "model": {"hidden_size": 8}},
                    {"name": "b", "model": LLAMA_70B},
                ]
            },
            "model of tier 'a': num_hidden_layers is missing",
        ),
        (
            {"tiers": [{"name": "a", "model": "nowhere"}, {"name": "b", "model": LLAMA_70B}]},
            "nowhere/config.json: No such file",
        ),
    ],
)
def test_a_model_or_device_that_is_not_known_is_one_line(changes, says):
    with pytest.raises(ConfigError, match=says):
        shapes_of_pools(workload_problem(**changes), LOAD)


def test_weights_that_fit_nowhere_name_the_tier():
    cluster = [{"gpu": "H100", "nodes": 1, "gpus_per_node": 1}]
    with pytest.raises(InfeasiblePlanError, match="tier 'large': its weights fit no number"):
        shapes_of_pools(workload_problem(cluster=cluster, gpu_budget=1), LOAD)


def _problem(objective, **changes):
    data = {
        "gpu_budget": 6,
        "objective": objective,
        "tiers": [{"name": "a"}, {"name": "b"}],
        "cluster": NODES,
        "calibration": [{"scores": [0.5], "correct": [0, 1]}],
    }
    return problem_of(**{**data, **changes})


SURFACES = {
    "a": [(s, [flat_surface(s, 3.0 * s.tp, 1 / s.tp)]) for s in (made_shape(1), made_shape(2))],
    "b": [
        (s, [flat_surface(s, rate, seconds)])
        for s, rate, seconds in (
            (made_shape(2), 2.0, 2.0),
            (made_shape(1, "L40S"), 0.9, 3.0),
            (made_shape(3, "L40S"), 3.5, 1.5),
        )
    ],
}


def _enumerated(problem, shares, rate):
    """The least objective over every pair of shape and count that fits the types and the budget."""
    best = math.inf
    ways = [
        [(shape, surface, count) for shape, (surface,) in surfaces for count in range(1, 7)]
        for surfaces in SURFACES.values()
    ]
    for chosen in itertools.product(*ways):
        taken = {"H100": 0, "L40S": 0}
        for shape, _, count in chosen:
            taken[shape.gpu] += shape.gpus * count
        if sum(taken.values()) > problem.gpu_budget or taken["H100"] > 4 or taken["L40S"] > 3:
            continue
        statistic = "p95" if problem.objective == "bottleneck" else "mean"
        latencies_s = [
            float(surface.latency_s(share * rate / count, statistic))
            for share, (_, surface, count) in zip(shares, chosen, strict=True)
        ]
        path = sum(share * s for share, s in zip(shares, latencies_s, strict=True) if share)
        best = min(best, max(latencies_s) if problem.objective == "bottleneck" else path)
    return best


@pytest.mark.parametrize("objective", ["bottleneck", "path"])
def test_the_best_deployment_is_that_of_enumeration_and_never_gets_better_with_load(objective):
    problem = _problem(objective)
    for rate in (1.0, 4.0, 7.0):
        latencies = ShapeLatencies(problem, SURFACES, rate)
        bests = []
        for share in (0.0, 0.2, 0.45, 0.7, 1.0):
            deployed = latencies.deploy([1.0, share])
            best = _enumerated(problem, [1.0, share], rate)
            assert (math.inf if deployed is None else deployed.latency_s) == pytest.approx(best)
            bests.append(best)
        assert bests == sorted(bests)


def test_a_load_that_nothing_carries_is_listed_with_what_it_would_take():
    latencies = ShapeLatencies(_problem("bottleneck"), SURFACES, 100.0)
    assert latencies.deploy([1.0, 1.0]) is None
    candidate = latencies.candidate([0.5], [1.0, 1.0], 0.9)
    needed = {
        (deployment.pool, deployment.gpu, deployment.tp_size): deployment.replicas
        for deployment in candidate.deployments
    }
    assert needed["a", "H100", 2] == 17
    assert needed["b", "H100", 2] == 51


def test_tiers_of_one_pool_keep_its_replicas_busy_together():
    tiers = [{"name": "a", "pool": "p"}, {"name": "b", "pool": "p"}]
    problem = _problem("bottleneck", tiers=tiers, gpu_budget=2)
    shape = made_shape(1)
    surfaces = {"p": [(shape, [flat_surface(shape, 10.0, 1.0), flat_surface(shape, 5.0, 2.0)])]}
    latencies = ShapeLatencies(problem, surfaces, 8.0)
    # 8 of 10 and 0.5 x 8 of 5 requests/s: 1.6 replicas' work on two.
    (shared,) = latencies.candidate([0.5], [1.0, 0.5], 0.9).deployments
    assert shared.replicas == 2
    assert shared.latency_s == pytest.approx({"a": 1 + 2 * 0.7 / 0.8, "b": 2 + 4 * 0.7 / 0.8})


def test_neighbours_are_the_best_plans_that_differ_in_a_pool_or_two():
    latencies = ShapeLatencies(_problem("path"), SURFACES, 2.0)
    columns, deployments = latencies.deployments([1.0, 0.5])
    every = [
        list(picks)
        for picks in itertools.product(
            *(
                [i for i, deployment in enumerate(deployments) if deployment.pool == pool]
                for pool in "ab"
            )
        )
        if (columns.uses_CR[list(picks)].sum(axis=0) <= columns.capacity_R).all()
    ]
    ranked = sorted(every, key=lambda picks: (columns.objective_s(picks), picks))
    assert neighbours(columns, ranked[0], columns.uses_CR, columns.capacity_R, 7) == ranked[1:8]


def test_neighbours_with_one_slowest_tier_are_ranked_by_the_others():
    latencies = ShapeLatencies(_problem("bottleneck"), SURFACES, 2.0)
    columns, _ = latencies.deployments([1.0, 0.5])
    start = best_picks(columns, 0)
    nearest = neighbours(columns, start, columns.uses_CR, columns.capacity_R, 5)
    ranks = [(columns.objective_s(picks), columns.value_C[picks].sum()) for picks in nearest]
    assert ranks == sorted(ranks)
    assert nearest[0] != start
    assert ranks[0][0] == columns.objective_s(start)
