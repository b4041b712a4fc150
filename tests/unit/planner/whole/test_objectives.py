"""Plans against all plans: more GPUs are never worse, and `slo` finds the fewest."""

import itertools
import json
import re
from types import SimpleNamespace

import msgspec
import pytest

from cascadia_sglang.cli import main
from cascadia_sglang.planner import progress
from cascadia_sglang.planner.from_workload import prepared, surfaces_of
from cascadia_sglang.planner.progress import JobRunner
from cascadia_sglang.planner.simulation import compilation
from cascadia_sglang.planner.simulation.run_limit import RunLimit
from cascadia_sglang.planner.solve import solve, sweep
from cascadia_sglang.planner.whole.choice import PlanChoice
from cascadia_sglang.planner.whole.fewest import slo_points
from cascadia_sglang.planner.workload.source import load_workload
from tests.unit.planner.samples import rows
from tests.unit.planner.whole_problems import workload_data, workload_problem


def _problem(gpus, seed=0, rate=6.0, **changes):
    return workload_problem(
        gpu_budget=gpus,
        workload={
            "rate_per_s": rate,
            "input_tokens": 300,
            "output_tokens": 40,
            "requests": 60,
            "seed": seed,
        },
        tiers=[
            {"name": "small", "model": "Qwen/Qwen3-1.7B"},
            {"name": "large", "model": "Qwen/Qwen3-8B"},
        ],
        calibration=[{"scores": row.scores, "correct": row.correct} for row in rows(100, seed, 2)],
        **changes,
    )


@pytest.mark.parametrize("objective", ["path", "bottleneck"])
@pytest.mark.parametrize(("seed", "rate"), [(0, 20.0), (1, 40.0)])
def test_more_gpus_are_never_worse(objective, seed, rate):
    values = []
    for gpus in range(2, 9):
        plan = solve(_problem(gpus, seed, rate, objective=objective, least_gain=0.0))
        taken = sum(deployment.gpus for deployment in plan.deployments)
        assert taken <= gpus
        assert (plan.left_over.gpus if plan.left_over else 0) == gpus - taken
        values.append(plan.simulated.objective_s)
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0]


@pytest.mark.parametrize(("seed", "e2e_ms"), [(1, 300.0), (1, 350.0), (2, 350.0)])
def test_a_larger_budget_never_makes_targets_dearer(seed, e2e_ms):
    targets = {"objective": "slo", "slo": {"e2e_ms": e2e_ms, "attainment": 0.9}}
    plans = [solve(_problem(gpus, seed, 40.0, **targets)) for gpus in range(2, 9)]
    costs = [plan.least_cost.cost if plan.slo_met else float("inf") for plan in plans]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < costs[0]


def test_gpus_that_gain_little_are_left_over_and_named():
    all_of_them, few = (
        solve(_problem(8, rate=40.0, objective="path", least_gain=gain)) for gain in (0.0, 0.5)
    )
    best_s, taken_s = all_of_them.simulated.objective_s, few.simulated.objective_s
    assert best_s <= taken_s <= 1.5 * best_s
    assert few.left_over.gpus > 0
    assert few.left_over.gain == pytest.approx(1 - best_s / taken_s)


def test_the_default_keeps_the_better_of_both_latency_objectives():
    default, path, bottleneck = (
        solve(_problem(8, rate=30.0, **changes))
        for changes in ({}, {"objective": "path"}, {"objective": "bottleneck"})
    )
    assert msgspec.structs.replace(default, solve_s=0) == msgspec.structs.replace(path, solve_s=0)
    assert default.simulated.e2e_ms["mean"] <= 1.02 * bottleneck.simulated.e2e_ms["mean"]


def _every_plan(problem, latencies, point):
    """All shapes and numbers of replicas within the budget."""
    ways = [[deployment for deployment, _, _ in ways] for ways in latencies.ways(point.shares)]
    for deployments in itertools.product(*ways):
        if sum(deployment.gpus for deployment in deployments) <= problem.gpu_budget:
            yield PlanChoice(point=point, deployments=deployments, surface_s=0.0)


@pytest.mark.parametrize("seed", range(20))
def test_the_fewest_gpus_are_those_of_all_plans(seed):
    rate = (5.0, 15.0, 30.0, 45.0)[seed % 4]
    targets = {"e2e_ms": (350.0, 600.0, 1000.0)[seed % 3], "attainment": 0.9}
    problem = _problem(5, seed, rate, objective="slo", slo=targets)
    runner = JobRunner()
    load = load_workload(problem.workload)
    planning = prepared(problem, load, surfaces_of(problem, load, runner), runner)
    plan = solve(problem)
    gpus = (
        sum(deployment.gpus for deployment in plan.deployments)
        if plan.slo_met
        else problem.gpu_budget
    )
    least = None
    points = slo_points(planning.latencies, planning.points, planning.ladders[0], gpus)
    if plan.least_cost is not None:
        looked_at = plan.least_cost.thresholds
        points = [point for point in planning.points if list(point.thresholds) in looked_at]
    for choice in itertools.chain.from_iterable(
        _every_plan(problem, planning.latencies, point) for point in points
    ):
        run = planning.runs.run(choice, RunLimit())
        if run.outcome.attainment(problem.slo) >= 0.9 and (least is None or choice.gpus < least):
            least = choice.gpus
    assert plan.slo_met == (least is not None)
    if least is not None:
        assert gpus == least
        assert (plan.least_cost.cost, plan.least_cost.bound) == (least, least)
        assert plan.simulated.slo_attainment >= 0.9
        assert plan.status == "optimal"
        assert plan.relaxed.slo_attainment >= plan.simulated.slo_attainment
    assert plan.relaxed.mean_e2e_ms <= plan.simulated.e2e_ms["mean"]


def test_the_least_price_may_take_more_gpus():
    """The second type is as fast and half as dear, so a plan takes it."""
    types = [{"gpu": name, "nodes": 1, "gpus_per_node": 8} for name in ("H100", "H200")]
    prices = {"H100": 4.0, "H200": 2.0}
    plan = solve(
        _problem(
            8,
            objective="slo",
            slo={"e2e_ms": 1000.0},
            cluster=types,
            price_per_gpu_hour=prices,
        )
    )
    assert plan.slo_met
    assert {deployment.gpu for deployment in plan.deployments} == {"H200"}
    taken = sum(deployment.gpus for deployment in plan.deployments)
    assert plan.price_per_hour == plan.least_cost.cost == 2.0 * taken
    assert plan.least_cost.unit == "price per hour"


def test_a_sweep_gets_better_with_every_point_and_marks_its_knee():
    problem = _problem(8, rate=40.0, slo={"e2e_ms": 600.0})
    swept = sweep(problem)
    gpus = [point.gpus for point in swept.points]
    means = [point.mean_s for point in swept.points]
    assert gpus == sorted(set(gpus))
    assert max(gpus) <= 8
    assert all(later < 0.971 * earlier for earlier, later in itertools.pairwise(means))
    assert len(swept.points) < 3 or swept.knee is not None
    attained = [point.slo_attainment for point in swept.points]
    first = next((index for index, share in enumerate(attained) if share >= 0.95), None)
    assert swept.first_within_slo == first


TWO_TYPES = [{"gpu": name, "nodes": 1, "gpus_per_node": 4} for name in ("H100", "L40S")]


def test_of_several_types_the_default_keeps_the_better_of_both_objectives_too():
    default, bottleneck = (
        solve(_problem(8, rate=20.0, cluster=TWO_TYPES, least_gain=0.0, **changes))
        for changes in ({}, {"objective": "bottleneck"})
    )
    assert default.simulated.e2e_ms["mean"] <= bottleneck.simulated.e2e_ms["mean"]


def test_a_sweep_of_several_types_rises_by_price():
    prices = {"H100": 4.0, "L40S": 1.0}
    swept = sweep(_problem(8, rate=20.0, cluster=TWO_TYPES, price_per_gpu_hour=prices))
    paid = [point.price_per_hour for point in swept.points]
    assert len(paid) > 1
    assert paid == sorted(set(paid))
    assert all(later.mean_s < earlier.mean_s for earlier, later in itertools.pairwise(swept.points))


def _written(tmp_path, **changes):
    path = tmp_path / "problem.json"
    workload = {**workload_data()["workload"], "requests": 60}
    path.write_text(json.dumps(workload_data(workload=workload, **changes)))
    return str(path)


def test_a_missed_slo_is_said_and_is_code_4(tmp_path, capsys):
    path = _written(tmp_path, slo={"e2e_ms": 60.0})
    assert main(["plan", "--problem", path, "--workers", "0"]) == 4
    captured = capsys.readouterr()
    assert "slo is missed" in captured.err
    assert "none can: even without queues" in captured.err
    # Where it takes longer than a second, progress is told too.
    warnings = [line for line in captured.err.splitlines() if "left of this phase" not in line]
    assert len(warnings) == 1
    assert "simulated whole" in captured.out
    path = _written(tmp_path, slo={"e2e_ms": 60.0}, objective="slo")
    assert main(["plan", "--problem", path, "--workers", "0", "--json"]) == 4
    captured = capsys.readouterr()
    assert "no plan with 8 GPUs was found" in captured.err
    assert json.loads(captured.out)["slo_met"] is False


def test_an_slo_that_is_met_is_code_0_and_names_the_fewest_gpus(tmp_path, capsys):
    path = _written(tmp_path, slo={"e2e_ms": 20_000.0}, objective="slo")
    assert main(["plan", "--problem", path, "--workers", "2"]) == 0
    page = capsys.readouterr().out
    match = re.search(r"(\d) GPUs meet the targets; of \d choices of thresholds no plan", page)
    assert match is not None
    assert f"{8 - int(match[1])} of 8 GPUs are left over" in page


def test_simulate_confirms_that_the_fewest_gpus_suffice(tmp_path, capsys):
    path = _written(tmp_path, slo={"e2e_ms": 1500.0, "attainment": 0.9}, objective="slo")
    assert main(["plan", "--problem", path, "--workers", "0", "--json"]) == 0
    printed = capsys.readouterr().out
    plan = tmp_path / "plan.json"
    plan.write_text(printed)
    assert main(["simulate", "--plan", str(plan), "--json"]) == 0
    simulated = json.loads(capsys.readouterr().out)
    assert simulated["slo_attainment"] == json.loads(printed)["simulated"]["slo_attainment"] >= 0.9


def test_a_sweep_from_the_shell(tmp_path, capsys):
    path = _written(tmp_path, slo={"e2e_ms": 3000.0})
    assert main(["plan", "--problem", path, "--sweep", "--gpu-budget", "6", "--json"]) == 0
    swept = json.loads(capsys.readouterr().out)
    assert all(point["gpus"] <= 6 for point in swept["points"])
    picture = tmp_path / "sweep.svg"
    assert main(["plan", "--problem", path, "--sweep", "--plot", str(picture)]) == 0
    assert picture.read_text().startswith("<?xml")
    page = capsys.readouterr().out
    assert "GPUs" in page
    assert "attained" in page


def test_a_sweep_needs_a_workload(tmp_path, capsys):
    path = tmp_path / "tables.json"
    path.write_text(
        json.dumps(
            {
                "gpu_budget": 2,
                "tiers": [{"name": "a"}],
                "candidates": [
                    {"thresholds": [], "quality": 1, "shares": [1], "latency_s": [{"1": 1.0}]}
                ],
            }
        )
    )
    assert main(["plan", "--problem", str(path), "--sweep"]) == 2
    assert "--sweep needs a workload" in capsys.readouterr().err


def test_a_time_limit_returns_what_is_known():
    """With no time at all, one shape of every pool is looked at, and one plan is simulated."""
    problem = _problem(8)
    whole, hurried = solve(problem), solve(problem, time_limit_s=0.0)
    assert hurried.status == "time_limit"
    assert hurried.simulated.answered == 60
    # Of many GPUs, looking for plans near the best ones takes long.
    assert hurried.simulated.neighbours < whole.simulated.neighbours
    assert {(deployment.tp_size, deployment.pp_size) for deployment in hurried.deployments} == {
        (1, 1)
    }
    # Its bounds hold for the shapes too that there was no time for.
    assert hurried.bound_s <= whole.objective_s < hurried.objective_s
    assert hurried.gap == 1.0
    assert hurried.relaxed == whole.relaxed
    assert whole.simulated.objective_s <= 1.01 * hurried.simulated.objective_s


def test_the_time_limit_begins_once_the_simulator_is_compiled(monkeypatch):
    """Else the first plan on a machine would be cut short, and be a worse one."""
    problem = _problem(4)
    clock, compiled = [0.0], []

    def compile_for_long(report):
        clock[0] += 20.0
        compiled.append(report)

    monkeypatch.setattr(compilation, "compile_simulator", compile_for_long)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    assert solve(problem, time_limit_s=10.0).status != "time_limit"
    assert sweep(problem, time_limit_s=10.0).is_complete
    assert len(compiled) == 2


def test_a_machine_without_compiled_code_is_told_why_it_waits(monkeypatch):
    lines = []
    monkeypatch.setattr(compilation, "holds_compiled_code", lambda: False)
    compilation.compile_simulator(lines.append)
    assert len(lines) == 1
    assert lines[0].startswith("compiling the simulator")
    monkeypatch.setattr(compilation, "holds_compiled_code", lambda: True)
    compilation.compile_simulator(lines.append)
    assert len(lines) == 1


def test_a_time_limit_before_any_plan_is_code_4(tmp_path, capsys):
    """The load needs shapes that there was no time for."""
    workload = {"rate_per_s": 400.0, "input_tokens": 900, "output_tokens": 90, "requests": 60}
    path = tmp_path / "problem.json"
    path.write_text(json.dumps(workload_data(workload=workload)))
    assert main(["plan", "--problem", str(path), "--time-limit-s", "0", "--json"]) == 4
    captured = capsys.readouterr()
    assert json.loads(captured.out)["status"] == "time_limit"
    assert "no plan was found in time" in captured.err
