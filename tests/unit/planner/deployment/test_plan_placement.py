"""Where replicas lie: no device twice, what runs stays, and what fragmentation costs."""

import itertools
import math
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascadia_sglang.capacity.devices import devices_of, progression
from cascadia_sglang.errors import InfeasiblePlanError
from cascadia_sglang.planner.deployment.plan_check import check_placement, check_plan
from cascadia_sglang.planner.plan import Plan
from cascadia_sglang.planner.problem.checks import problems_of
from cascadia_sglang.planner.problem.problem import Problem
from cascadia_sglang.planner.solve import solve
from tests.unit.planner.problems import problem_of


def deployment(pool: str, tp: int, replicas: int, latency_s: float = 1.0, gpu: str = "h100") -> Any:
    return {
        "pool": pool,
        "gpu": gpu,
        "tp_size": tp,
        "replicas": replicas,
        "latency_s": {pool: latency_s},
    }


def running(pool: str, tp: int, node: int, base: int, step: int = 1) -> Any:
    return {
        "pool": pool,
        "gpu": "h100",
        "tp_size": tp,
        "node": node,
        "base_gpu_id": base,
        "gpu_id_step": step,
    }


def shaped(deployments: list[Any], nodes: int = 2, **changes: Any) -> Problem:
    """A problem with shapes on nodes of 8; tiers are the pools of the deployments."""
    pools = list(dict.fromkeys(entry["pool"] for entry in deployments))
    candidate = {
        "thresholds": [0.5] * (len(pools) - 1),
        "quality": 0.9,
        "shares": [1.0] * len(pools),
        "deployments": deployments,
    }
    data = {
        "gpu_budget": 8 * nodes,
        "objective": "bottleneck",
        "tiers": [{"name": pool} for pool in pools],
        "candidates": [candidate],
        "cluster": [{"gpu": "h100", "nodes": nodes, "gpus_per_node": 8, "memory_gib": 80}],
        "switching_cost_s": 0.25,
    }
    return problem_of(**{**data, **changes})


def checked(problem: Problem) -> Plan:
    assert list(problems_of(problem)) == []
    plan = solve(problem)
    assert check_plan(problem, plan) == []
    assert check_placement(problem, plan) == []
    return plan


@given(st.integers(0, 10**6))
def test_no_device_holds_two_replicas_and_a_replica_stays_in_its_node(seed: int) -> None:
    """Powers of two fill nodes of eight whole, whatever runs before."""
    rng = random.Random(seed)
    deployments, remaining = [], 32
    for pool in ("a", "b", "c"):
        tp = rng.choice([1, 2, 4, 8])
        most = remaining // tp - (0 if pool == "c" else 1)
        if most >= 1:
            deployments.append(deployment(pool, tp, rng.randint(1, most)))
            remaining -= tp * deployments[-1]["replicas"]
    before = shaped([deployment("a", 1, rng.randint(1, 16)), deployment("b", 2, 4)], nodes=4)
    scattered = [replica for replica in checked(before).placement if rng.random() < 0.6]
    problem = shaped(deployments, nodes=4, running=msgspec.to_builtins(scattered))
    plan = checked(problem)
    devices = [device for r in plan.placement for device in devices_of(r, 8)]
    assert len(set(devices)) == len(devices)
    stayed = [replica for replica in plan.placement if replica in scattered]
    assert len(plan.moves) == len(plan.placement) - len(stayed)


def test_replicas_that_run_in_the_wanted_shape_stay() -> None:
    runs = [running("a", 2, 1, 4), running("b", 4, 0, 1, step=2)]
    plan = checked(shaped([deployment("a", 2, 2), deployment("b", 4, 1)], running=runs))
    assert all(msgspec.convert(run, type(plan.placement[0])) in plan.placement for run in runs)
    assert [move.kind for move in plan.moves] == ["start"]
    assert plan.switching_s == 0.25
    assert plan.objective_s == 1.25


def test_a_step_between_devices_is_used_where_neighbours_are_taken() -> None:
    runs = [running("a", 1, 0, base) for base in (0, 2, 4, 6)]
    plan = checked(shaped([deployment("a", 1, 4), deployment("b", 4, 1)], nodes=1, running=runs))
    (placed,) = (replica for replica in plan.placement if replica.pool == "b")
    assert (placed.base_gpu_id, placed.gpu_id_step) == (1, 2)
    assert [move.kind for move in plan.moves] == ["start"]


def test_scattered_devices_cost_the_fewest_moves_there_can_be() -> None:
    """Twelve GPUs are free, six in each node; a replica of eight needs one node empty."""
    deployments = [deployment("a", 2, 2), deployment("b", 8, 1)]
    runs = [running("a", 2, 0, 0), running("a", 2, 1, 6)]
    plan = checked(shaped(deployments, running=runs))
    assert sorted(move.kind for move in plan.moves) == ["move", "start"]
    assert [move.cost_s for move in plan.moves] == [0.25, 0.25]


def test_of_replicas_too_many_the_one_in_the_way_stops() -> None:
    runs = [running("a", 4, 0, 0), running("a", 4, 1, 0)]
    deployments = [deployment("a", 4, 1), deployment("b", 8, 1)]
    plan = checked(shaped(deployments, running=runs))
    assert [move.kind for move in plan.moves] == ["start"]


def test_a_replica_larger_than_a_node_takes_whole_nodes() -> None:
    deployments = [deployment("a", 8, 1), {**deployment("b", 8, 1), "pp_size": 2}]
    plan = checked(shaped(deployments, nodes=3))
    assert {replica.pool: replica.node for replica in plan.placement} == {"b": 0, "a": 2}


def test_shapes_that_fit_no_node_or_no_memory_are_not_chosen() -> None:
    deployments = [
        deployment("a", 16, 1, latency_s=0.1),
        deployment("a", 1, 1, latency_s=0.2),
        {**deployment("a", 4, 1, latency_s=0.3), "pp_size": 3},
        deployment("a", 2, 1, latency_s=0.4),
    ]
    plan = checked(shaped(deployments, tiers=[{"name": "a", "memory_gib": 140}]))
    assert plan.deployments[0].tp_size == 2


def test_a_model_too_large_for_every_shape_is_told_so() -> None:
    with pytest.raises(InfeasiblePlanError, match="no count of GPUs serves tier 'a'"):
        solve(shaped([deployment("a", 2, 1)], tiers=[{"name": "a", "memory_gib": 161}]))


def test_a_thousand_replicas_find_their_places() -> None:
    plan = checked(shaped([deployment("a", 1, 1000), deployment("b", 8, 3)], nodes=128))
    assert len(plan.placement) == 1003


def test_a_first_fit_that_fails_is_searched_further() -> None:
    """Sizes 4, 3, 3, 2, 2, 2 fill two nodes of eight in one way only: 4 + 2 + 2 and 3 + 3 + 2."""
    deployments = [deployment("a", 4, 1), deployment("b", 3, 2), deployment("c", 2, 3)]
    assert len(checked(shaped(deployments)).placement) == 6


def test_replicas_that_no_nodes_can_hold_are_told_so() -> None:
    with pytest.raises(InfeasiblePlanError, match="not the nodes: 3 of 5 for a"):
        solve(shaped([deployment("a", 5, 3)]))


def test_switching_keeps_the_running_shape_until_the_gain_is_worth_it() -> None:
    choices = [deployment("a", 1, 4, latency_s=1.0), deployment("a", 2, 2, latency_s=0.6)]
    runs = [running("a", 1, 0, base) for base in range(4)]
    assert checked(shaped(choices, running=runs)).deployments[0].tp_size == 1
    cheap = checked(shaped(choices, running=runs, switching_cost_s=0.1))
    assert (cheap.deployments[0].tp_size, cheap.switching_s) == (2, 0.2)


def best_switch(problem: Problem, running_tp: dict[str, list[int]]) -> float:
    """Least objective over all deployments, by trying every one.

    Args:
        running_tp: tensor parallel size of every replica of a pool that runs.
    """
    (candidate,) = problem.candidates
    choices = [
        [deployment for deployment in candidate.deployments if deployment.pool == tier.name]
        for tier in problem.tiers
    ]
    best = math.inf
    for chosen in itertools.product(*choices):
        if (
            sum(deployment.tp_size * deployment.replicas for deployment in chosen)
            > problem.gpu_budget
        ):
            continue
        started = sum(
            max(
                0,
                deployment.replicas - running_tp.get(deployment.pool, []).count(deployment.tp_size),
            )
            for deployment in chosen
        )
        latencies_s = [next(iter(deployment.latency_s.values())) for deployment in chosen]
        if problem.objective == "path":
            value = sum(s * x for s, x in zip(candidate.shares, latencies_s, strict=True))
        else:
            value = max(latencies_s)
        best = min(best, value + problem.switching_cost_s * started)
    return best


@settings(max_examples=150)
@given(st.integers(0, 2**32), st.sampled_from(["path", "bottleneck"]))
def test_numbers_of_any_size_beside_one_another_give_the_best_plan(
    seed: int, objective: str
) -> None:
    """Latencies and switching costs from 1e-10 to 1e15, zeros and near ties among them."""
    rng = random.Random(seed)

    def any_s() -> float:
        size = rng.choice([0.0, 100.0, 10 ** rng.uniform(-10, 15)])
        return size * rng.choice([1.0, 1.0 + 1e-9, 1.0045])

    shapes = [(1, 1), (1, 2), (1, 4), (2, 1), (2, 2), (4, 1)]
    choices = [
        deployment(pool, tp, replicas, latency_s=any_s())
        for pool in ("a", "b")
        for tp, replicas in rng.sample(shapes, rng.randint(1, 4))
    ]
    runs = [running("a", 1, 0, base) for base in range(rng.randint(0, 2))]
    problem = shaped(
        choices,
        nodes=1,
        objective=objective,
        running=runs,
        switching_cost_s=any_s(),
        gpu_budget=8,
    )
    best = best_switch(problem, {"a": [1] * len(runs)})
    plan = solve(problem)
    assert plan.objective_s == pytest.approx(best, rel=1e-12, abs=0.0)
    assert plan.bound_s <= best * (1 + 1e-12)
    assert plan.gap == 0
    assert check_plan(problem, plan) == []


def test_a_large_switching_cost_hides_no_difference_of_latency() -> None:
    """100 s are 3e-8 of the objective, less than the solver tells apart."""
    choices = [
        deployment("a", 1, 1, latency_s=100.0),
        deployment("a", 4, 1, latency_s=0.0),
        deployment("b", 1, 2, latency_s=0.0),
    ]
    plan = checked(shaped(choices, nodes=1, objective="bottleneck", switching_cost_s=1e9 + 0.1))
    assert [deployment.tp_size for deployment in plan.deployments] == [4, 1]
    assert plan.objective_s == pytest.approx(3e9 + 0.3, rel=1e-15)


def test_a_small_difference_is_seen_beside_a_number_of_another_size() -> None:
    choices = [
        deployment("a", 1, 1, latency_s=1e9),
        deployment("a", 1, 2, latency_s=100.4534),
        deployment("a", 1, 4, latency_s=100.45),
        deployment("b", 4, 1, latency_s=1e12),
        deployment("b", 2, 2, latency_s=2e-6),
    ]
    runs = [running("a", 1, 0, 0)]
    dear = checked(shaped(choices, nodes=1, objective="path", running=runs, switching_cost_s=2e9))
    assert [deployment.replicas for deployment in dear.deployments] == [1, 2]
    assert dear.objective_s == pytest.approx(5e9, rel=1e-12)
    free = checked(shaped(choices, nodes=1, objective="path", running=runs, switching_cost_s=0.0))
    assert [deployment.replicas for deployment in free.deployments] == [4, 2]
    assert free.objective_s == pytest.approx(100.450002, rel=1e-12)


def test_types_of_gpu_are_bounded_each_by_itself() -> None:
    cluster = [
        {"gpu": "h100", "nodes": 1, "gpus_per_node": 4},
        {"gpu": "l40s", "nodes": 1, "gpus_per_node": 8},
    ]
    choices = [
        deployment("a", 4, 1, latency_s=1.0),
        deployment("a", 4, 1, latency_s=1.5, gpu="l40s"),
        deployment("b", 4, 1, latency_s=2.0),
        deployment("b", 4, 2, latency_s=4.0, gpu="l40s"),
    ]
    plan = checked(shaped(choices, cluster=cluster, gpu_budget=12, switching_cost_s=0.0))
    assert [deployment.gpu for deployment in plan.deployments] == ["l40s", "h100"]
    assert plan.objective_s == 2.0
    short = shaped(choices, cluster=cluster, gpu_budget=7)
    with pytest.raises(InfeasiblePlanError, match="tier 'b' lacks 1 GPU"):
        solve(short)


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        ([running("a", 2, 0, 7)], "running[0]: device 8 of node 0 is not among the h100"),
        ([running("a", 2, 2, 0)], "node 2 is not among the h100"),
        ([running("a", 2, 0, 0), running("b", 1, 0, 1)], "running[1]: device 1 of node 0"),
        (
            [{**running("a", 2, 0, 0, step=2), "pp_size": 2}],
            "running[0].gpu_id_step is 2, allowed: 1 where pp_size is above 1",
        ),
        ([{**running("a", 1, 0, 0), "gpu": "tpu"}], "gpu is 'tpu', allowed: h100"),
    ],
)
def test_a_running_plan_that_cannot_be_is_told_so(runs: list[Any], says: str) -> None:
    problem = shaped([deployment("a", 2, 1)], running=runs)
    assert any(says in line for line in problems_of(problem))


@given(st.sets(st.integers(0, 7), min_size=1), st.integers(1, 4), st.integers(1, 3))
def test_a_progression_is_found_where_there_is_one(free: set[int], tp: int, pp: int) -> None:
    """By SGLang's own formula for the device of a rank (`Engine._launch_scheduler_processes`)."""

    def devices(base: int, step: int) -> set[int]:
        return {base + stage * tp + rank * step for stage in range(pp) for rank in range(tp)}

    there = [
        (base, step)
        for step in (range(1, 8) if pp == 1 else [1])
        for base in free
        if devices(base, step) <= free
    ]
    base_and_step = progression(free, tp, pp, 8)
    assert (base_and_step is None) == (not there)
    assert base_and_step is None or base_and_step in there


def test_the_check_sees_a_replica_on_a_taken_device() -> None:
    problem = shaped([deployment("a", 2, 2)])
    plan = checked(problem)
    first = plan.placement[0]
    assert check_placement(problem, msgspec.structs.replace(plan, placement=[first, first])) != []
    assert check_placement(problem, msgspec.structs.replace(plan, placement=[first])) != []
