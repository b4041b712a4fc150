"""A plan beside the front it was chosen from, as a picture; needs matplotlib."""

from __future__ import annotations

from pathlib import Path

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.extras import require
from cascadia_sglang.planner.plan import Plan
from cascadia_sglang.planner.problem.problem import Problem


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
    axes.set_ylabel(f"latency {words[problem.objective]} (s)")
    axes.legend()
    try:
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    except (OSError, ValueError) as error:
        raise ConfigError(f"picture {path}: {error}") from error
