"""A plan and a sweep as a page for a reader."""

from __future__ import annotations

from cascadia_sglang.planner.plan import Plan, Sweep
from cascadia_sglang.planner.problem.problem import Problem

_WORDS = {"bottleneck": "slowest tier", "path": "mean along the path"}


def plan_lines(problem: Problem, plan: Plan) -> list[str]:
    """The plan, line by line."""
    lines = [f"{'tier':<16}{'GPUs':>6}{'reached by':>12}{'threshold':>11}"]
    thresholds = [f"{threshold:.4f}" for threshold in plan.thresholds] + ["-"]
    for tier, gpus, share, threshold in zip(
        problem.tiers, plan.allocation, plan.shares, thresholds, strict=True
    ):
        lines.append(f"{tier.name:<16}{gpus:>6}{share:>12.1%}{threshold:>11}")
    lines += _latency(problem, plan)
    lines.append(f"quality {plan.quality:.4f}; solved in {plan.solve_s * 1000:.1f} ms")
    lines += _sample(problem, plan)
    if plan.search is not None:
        lines.append(
            f"thresholds by {plan.search.method}; the best on the exact grid is "
            f"{plan.search.best_s:.6g} s, after {plan.search.boxes} boxes"
        )
    if plan.certificate is not None:
        sure = plan.certificate
        lines.append(
            f"quality at least {sure.lower_bound:.4f} with confidence {sure.confidence:g}, "
            f"on {sure.rows} rows that chose nothing"
        )
    lines += _cost(problem, plan)
    for deployment in plan.deployments:
        lines.append(
            f"pool {deployment.pool}: {deployment.replicas} x (tp {deployment.tp_size}, "
            f"pp {deployment.pp_size}) on {deployment.gpu}"
        )
    for replica in plan.placement:
        lines.append(
            f"  {replica.pool} on {replica.gpu} node {replica.node}, devices from "
            f"{replica.base_gpu_id} by {replica.gpu_id_step}, {replica.replica_gpus} in all"
        )
    lines += _simulated(problem, plan)
    for move in plan.moves:
        lines.append(
            f"  {move.kind} {move.replica.pool} at node {move.replica.node}, device "
            f"{move.replica.base_gpu_id}: {move.cost_s:g} s"
        )
    return lines


def missed_slo(problem: Problem, plan: Plan) -> str | None:
    """What to say of a plan that misses the targets of `slo`; None where it meets them."""
    run, slo = plan.simulated, problem.slo
    if plan.slo_met is not False or run is None:
        return None
    message = (
        f"slo is missed: {run.slo_attainment:.1%} of the requests meet the targets, asked: "
        f"{slo.attainment:.1%}"
    )
    if problem.objective == "slo":
        message += f"; no plan with {problem.gpu_budget} GPUs was found that meets them"
        if plan.status == "time_limit":
            message += " before the time limit"
    elif plan.left_over is not None:
        message += f"; {plan.left_over.gpus} GPUs are left over: objective slo may use them"
    if plan.relaxed is not None and plan.relaxed.slo_attainment < slo.attainment:
        message += (
            f"; none can: even without queues {plan.relaxed.slo_attainment:.1%} of the requests "
            "would meet them"
        )
    return message


def sweep_lines(problem: Problem, sweep: Sweep) -> list[str]:
    """The sweep as a table; the knee and the first point within the targets are marked."""
    has_price, has_slo = bool(problem.price_per_gpu_hour), problem.slo.has_targets
    head = f"{'GPUs':>6}" + (f"{'price/h':>10}" if has_price else "")
    lines = [head + f"{'mean s':>10}{'p95 s':>10}" + (f"{'attained':>10}" if has_slo else "")]
    for index, point in enumerate(sweep.points):
        marks = ["knee"] * (index == sweep.knee)
        marks += ["first within slo"] * (index == sweep.first_within_slo)
        lines.append(
            f"{point.gpus:>6}"
            + (f"{point.price_per_hour:>10.2f}" if has_price else "")
            + f"{point.mean_s:>10.4g}{point.p95_s:>10.4g}"
            + (f"{point.slo_attainment:>10.1%}" if has_slo else "")
            + ("  " + ", ".join(marks) if marks else "")
        )
    if not sweep.is_complete:
        lines.append("the time limit came first: points with more GPUs may be missing")
    return lines


def _latency(problem: Problem, plan: Plan) -> list[str]:
    words = _WORDS[problem.latency_objective]
    if plan.bound_of == "tables":
        return [
            f"latency ({words}) {plan.objective_s:.6g} s, {plan.status}",
            f"no plan is below {plan.bound_s:.6g} s: gap {plan.gap:.3%}",
        ]
    lines = [
        f"latency of single replicas ({words}) {plan.objective_s:.6g} s, on surfaces",
        f"on surfaces no plan is below {plan.bound_s:.6g} s: gap {plan.gap:.3%}"
        if plan.bound_s > 0.0
        else "on surfaces no bound is known: the time limit came before all of them were built",
    ]
    if plan.simulated is not None:
        lines.append(
            f"the whole simulation says {plan.simulated.objective_s:.6g} s, "
            f"{plan.simulated.above_surfaces:+.1%} beside the surfaces"
        )
    if plan.status == "time_limit":
        lines.append("the time limit came first: there may be a better plan")
    if plan.relaxed is not None:
        lines.append(
            f"of the thresholds looked at, no plan within {problem.gpu_budget} GPUs has a mean "
            f"below {plan.relaxed.mean_e2e_ms / 1e3:.4g} s: a bound without queues"
        )
    return lines


def _sample(problem: Problem, plan: Plan) -> list[str]:
    facts = plan.sample
    if facts is None:
        return []
    shares = ", ".join(
        f"{tier.name} {share.low:.1%} to {share.high:.1%}"
        for tier, share in list(zip(problem.tiers, facts.shares, strict=True))[1:]
    )
    lines = [
        f"on {facts.rows} rows, with 95 % confidence: quality {facts.quality.low:.4f} to "
        f"{facts.quality.high:.4f}" + (f"; reached by: {shares}" if shares else "")
    ]
    if plan.certificate is None:
        lines.append(
            f"so many rows can certify a floor of {facts.certifiable:.4f} at most: set "
            "routing.confidence to have the floor certified"
        )
    return lines


def _cost(problem: Problem, plan: Plan) -> list[str]:
    lines = []
    if plan.least_cost is not None:
        cost = plan.least_cost
        lines.append(
            f"{cost.cost:g} {cost.unit} meet the targets; of {len(cost.thresholds)} choices of "
            f"thresholds no plan below {cost.bound:g} does ({cost.simulated} plans simulated)"
        )
    if plan.price_per_hour is not None:
        lines.append(f"price {plan.price_per_hour:.2f} per hour")
    if plan.left_over is not None:
        lines.append(
            f"{plan.left_over.gpus} of {problem.gpu_budget} GPUs are left over"
            + (
                f": all of them together gain {plan.left_over.gain:.1%}, less than least_gain "
                f"{problem.least_gain:.1%}"
                if plan.least_cost is None
                else ""
            )
        )
    return lines


def _simulated(problem: Problem, plan: Plan) -> list[str]:
    run = plan.simulated
    if run is None or plan.setup is None or isinstance(plan.setup.profile, str):
        return []
    e2e, ttft = (
        ", ".join(f"{name} {ms / 1e3:.4g}" for name, ms in latencies_ms.items() if ms is not None)
        for latencies_ms in (run.e2e_ms, run.ttft_ms)
    )
    target = f", asked {problem.slo.attainment:.1%}" if problem.slo.has_targets else ""
    return [
        f"simulated whole, {run.answered} of {run.requests} requests answered at "
        f"{run.rate_per_s:.4g}/s, step times {plan.setup.profile.source}; "
        f"best of {run.neighbours + 1} deployments",
        f"  E2E s: {e2e}",
        f"  TTFT s: {ttft}",
        f"  SLO attainment {run.slo_attainment:.1%}{target}, goodput {run.goodput_per_s:.4g}/s",
    ]
