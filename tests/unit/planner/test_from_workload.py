"""A plan from a workload: simulated as a whole, the same in every run, and what `simulate` says."""

import json

import msgspec
import numpy as np
import pytest

from cascadia_sglang.cli import main
from cascadia_sglang.errors import InfeasiblePlanError
from cascadia_sglang.planner.deployment.plan_check import check_placement
from cascadia_sglang.planner.latency.build_surfaces import SurfaceJob, TierLengths, surface_of
from cascadia_sglang.planner.latency.surfaces import ParallelShape
from cascadia_sglang.planner.simulation.paths import shared_paths
from cascadia_sglang.planner.simulation.simulator import simulate
from cascadia_sglang.planner.simulation.tiers import SimulatedTier
from cascadia_sglang.planner.solve import solve
from cascadia_sglang.planner.speed.profile import EngineLimits, StepTimes
from cascadia_sglang.planner.workload.workload import build_workload, poisson_arrivals_s
from tests.unit.planner.whole_problems import LIMITS, TIMES, workload_data, workload_problem

# A tier that takes next to no time.
FAST = StepTimes(decode_ms=[(1, 0.01), (512, 0.01)], prefill_ms=[(1, 0.01), (1000, 0.01)])
ROOMY = EngineLimits(kv_tokens=1_000_000, max_running_requests=512)


@pytest.fixture(scope="module", params=["bottleneck", "path"])
def planned(request):
    problem = workload_problem(objective=request.param)
    return problem, solve(problem)


def test_a_plan_from_a_workload_keeps_budget_floor_and_places(planned):
    problem, plan = planned
    assert sum(deployment.gpus for deployment in plan.deployments) <= problem.gpu_budget
    assert [deployment.gpus for deployment in plan.deployments] == plan.allocation
    assert plan.quality >= 0.7
    assert plan.bound_s <= plan.objective_s
    assert plan.gap == pytest.approx(1 - plan.bound_s / plan.objective_s)
    assert plan.status == ("optimal" if plan.gap == 0 else "feasible")
    assert check_placement(problem, plan) == []
    assert plan.simulated.answered == 150
    assert plan.simulated.neighbours > 5
    assert plan.bound_of == "surfaces"
    assert plan.relaxed.mean_e2e_ms <= plan.simulated.e2e_ms["mean"]
    assert plan.sample.quality.low <= plan.quality <= plan.sample.quality.high


def test_two_runs_give_one_plan(planned):
    problem, plan = planned
    again = solve(problem)
    assert msgspec.structs.replace(again, solve_s=plan.solve_s) == plan


def test_simulate_says_of_a_plan_what_the_plan_says(planned, tmp_path, capsys):
    _, plan = planned
    path = tmp_path / "plan.json"
    path.write_bytes(msgspec.json.encode(plan))
    assert main(["simulate", "--plan", str(path), "--json"]) == 0
    simulated = json.loads(capsys.readouterr().out)
    assert simulated["e2e_ms"] == plan.simulated.e2e_ms
    assert simulated["ttft_ms"] == plan.simulated.ttft_ms
    assert simulated["slo_attainment"] == plan.simulated.slo_attainment
    assert simulated["profile"] == "roofline: " + ", ".join(
        f"{n.gpus} H100" for n in plan.deployments
    )


def test_a_trace_beside_the_plan_is_simulated_instead(planned, tmp_path, capsys):
    _, plan = planned
    path, trace = tmp_path / "plan.json", tmp_path / "trace.csv"
    path.write_bytes(msgspec.json.encode(plan))
    trace.write_text("timestamp,input_tokens,output_tokens\n0,10,5\n9,10,5\n")
    assert main(["simulate", "--plan", str(path), "--trace", str(trace), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["requests"] == 2


def test_more_requests_take_no_fewer_gpus_and_no_less_time():
    calm, busy = (
        solve(
            workload_problem(
                workload={
                    "rate_per_s": rate,
                    "input_tokens": 400,
                    "output_tokens": 60,
                    "requests": 100,
                },
                tiers=[workload_data()["tiers"][0]],
                calibration=[{"scores": [], "correct": [1.0]}],
            )
        )
        for rate in (1.0, 300.0)
    )
    assert calm.objective_s <= busy.objective_s
    assert sum(calm.allocation) <= sum(busy.allocation)


def test_a_tier_that_keeps_most_of_a_draft_is_planned_to_be_faster():
    """It decodes less, so the same devices answer sooner, and fewer reach the same latency."""
    tiers = workload_data()["tiers"]
    plans = {
        share: solve(
            workload_problem(objective="path", tiers=[tiers[0], {**tiers[1], "kept": share}])
        )
        for share in (None, 0.0, 0.9)
    }
    assert [plan.setup.tiers[1].kept for plan in plans.values()] == [None, 0.0, 0.9]
    assert plans[0.9].objective_s < 0.9 * plans[None].objective_s
    assert plans[0.9].simulated.objective_s < 0.9 * plans[None].simulated.objective_s
    # A draft of which nothing is kept has been read for nothing.
    assert plans[0.0].objective_s >= plans[None].objective_s


def test_a_surface_of_drafts_says_what_a_cascade_of_them_does():
    """One replica that begins with drafts, beside the last tier of a cascade that always climbs."""
    load = build_workload(poisson_arrivals_s(2.0, 400, 1), [400] * 400, [60] * 400)
    shape = ParallelShape(tp=1, pp=1, times=TIMES, limits=LIMITS, gpu="H100")
    lengths = TierLengths(length=1.5, draft_length=1.0, kept_share=0.5)
    surface = surface_of(SurfaceJob(workload=load, shape=shape, lengths=lengths))
    rate = 0.5 * surface.saturation_per_s
    small = SimulatedTier(name="small", times=FAST, limits=ROOMY)
    large = SimulatedTier(name="large", times=TIMES, limits=LIMITS, kept_share=0.5)
    paths = shared_paths(load, [1.0, 1.0], [1.0, 1.5], None, 0)
    simulated = simulate(load.at_rate(rate), paths, [small, large])
    mean_s = float(simulated.attempt_e2e_s_RT[:, 1].mean())
    assert float(surface.latency_s(rate, "mean")) == pytest.approx(mean_s, rel=0.1)
    anew = surface_of(SurfaceJob(workload=load, shape=shape, lengths=TierLengths(length=1.5)))
    assert surface.saturation_per_s > 1.2 * anew.saturation_per_s


def test_a_budget_that_cannot_carry_the_load_names_the_tier_and_what_it_lacks():
    workload = {"rate_per_s": 2000.0, "input_tokens": 400, "output_tokens": 60, "requests": 100}
    with pytest.raises(InfeasiblePlanError, match=r"lacks \d+ GPU"):
        solve(workload_problem(workload=workload))


def test_the_shell_gets_the_plan_and_a_page_that_tells_it(tmp_path, capsys):
    path, trace = tmp_path / "problem.json", tmp_path / "trace.csv"
    random = np.random.default_rng(0)
    lines = [f"{at},{random.integers(50, 500)},{random.integers(5, 50)}" for at in range(40)]
    trace.write_text("timestamp,input_tokens,output_tokens\n" + "\n".join(lines) + "\n")
    # Relative to the problem's file, like every path in it.
    data = workload_data(workload={"trace": "trace.csv", "rate_per_s": 2.0})
    path.write_text(json.dumps(data))
    assert main(["plan", "--problem", str(path), "--workers", "0"]) == 0
    page = capsys.readouterr().out
    assert "simulated whole, 40 of 40 requests answered at 2/s, step times roofline" in page
    assert "SLO attainment" in page


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("timestamp,input_tokens,output_tokens\n", "the workload has 0 requests"),
        ("timestamp,input_tokens,output_tokens\n0,5,5\n", "the workload has 1 requests"),
        ("timestamp,input_tokens,output_tokens\n0,5,5\n0,5,5\n", "come at the same time"),
        ("timestamp,input_tokens,output_tokens\n0,5,5\nnan,5,5\n", "timestamp is nan, allowed"),
    ],
)
def test_a_trace_that_says_nothing_is_one_line(tmp_path, capsys, text, says):
    path = tmp_path / "problem.json"
    (tmp_path / "trace.csv").write_text(text)
    path.write_text(json.dumps(workload_data(workload={"trace": "trace.csv"})))
    assert main(["plan", "--problem", str(path)]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_a_floor_above_what_the_last_tier_reaches_is_code_3(tmp_path, capsys):
    path = tmp_path / "problem.json"
    path.write_text(json.dumps(workload_data(quality_floor=0.9999)))
    assert main(["plan", "--problem", str(path), "--workers", "0"]) == 3
    assert "above what any thresholds reach" in capsys.readouterr().err
