"""JSON schemas of Cascadia's files, one a file beside this one; `write` makes them."""

from importlib.resources import files

NAMES = (
    "calibration",
    "cascade",
    "no-plan",
    "plan",
    "planner-sample",
    "problem",
    "profile",
    "setup",
    "sweep",
)


def read_schema(name: str) -> str:
    """The schema of one of `NAMES`, as JSON text."""
    return (files("cascadia_sglang.schemas") / f"{name}.json").read_text(encoding="utf-8")
