"""A plan beside the front it was chosen from, as a picture; needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.extras import require
from cascadia_sglang.planner.plan import Plan, Sweep
from cascadia_sglang.planner.problem.problem import Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check_picture(path: Path) -> None:
    """Check that a picture can be drawn, before a plan is made for it.

    Raises:
        ConfigError: if matplotlib is missing, or it does not write this kind of file.
    """
    require("matplotlib")
    from matplotlib.figure import Figure

    kinds = sorted(Figure().canvas.get_supported_filetypes())
    if path.suffix.removeprefix(".").lower() not in kinds:
        raise ConfigError(f"picture {path}: allowed: a name that ends in .{', .'.join(kinds)}")


def draw_front(problem: Problem, plan: Plan, path: Path) -> None:
    """Write the picture: latency against quality of the front, the plan, and the floor.

    Raises:
        ConfigError: if the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(
        [point.quality for point in plan.front],
        [point.latency_s for point in plan.front],
        ".-",
        color="0.6",
        label="front",
    )
    axes.plot([plan.quality], [plan.objective_s], "o", label="plan")
    if problem.quality_floor is not None:
        axes.axvline(problem.quality_floor, ls=":", color="0.3", label="floor")
    words = {"bottleneck": "of the slowest tier", "path": "along the path, mean"}
    axes.set_xlabel("expected quality")
    axes.set_ylabel(f"latency {words[problem.latency_objective]} (s)")
    axes.legend()
    _save(figure, path)


def draw_sweep(problem: Problem, sweep: Sweep, path: Path) -> None:
    """Write the picture: p95 and attainment against GPUs, or their price; the knee is marked.

    Raises:
        ConfigError: if the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    has_price = bool(problem.price_per_gpu_hour)
    across = [point.price_per_hour if has_price else point.gpus for point in sweep.points]
    axes.plot(across, [point.p95_s for point in sweep.points], ".-", label="p95")
    axes.plot(across, [point.mean_s for point in sweep.points], ".:", color="0.6", label="mean")
    if sweep.knee is not None:
        axes.plot([across[sweep.knee]], [sweep.points[sweep.knee].p95_s], "o", label="knee")
    axes.set_xlabel("price of the GPUs per hour" if has_price else "GPUs")
    axes.set_ylabel("end-to-end latency (s)")
    axes.set_ylim(bottom=0)
    if problem.slo.has_targets:
        attained = axes.twinx()
        attained.plot(
            across, [100 * point.slo_attainment for point in sweep.points], "x--", color="tab:green"
        )
        attained.axhline(100 * problem.slo.attainment, ls=":", color="tab:green")
        attained.set_ylabel("requests within slo (%)", color="tab:green")
    axes.legend(loc="center right")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    try:
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    except (OSError, ValueError) as error:
        raise ConfigError(f"picture {path}: {error}") from error
