"""Writes the schemas from the structs that read and write the files.

python -m cascadia_sglang.schemas.write
"""

import inspect
import json
from pathlib import Path
from typing import Any

import msgspec

from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.field_docs import field_docs, nested_structs
from cascadia_sglang.judge.calibration import Calibration
from cascadia_sglang.planner.plan import NoPlan, Plan, Sweep
from cascadia_sglang.planner.problem.problem import Problem
from cascadia_sglang.planner.simulation.scenario import Scenario
from cascadia_sglang.planner.speed.profile import Profile
from cascadia_sglang.planner.thresholds.sample import PlanSample

# A file, its struct, and the version of what it may hold.
_STRUCTS: dict[str, tuple[type[msgspec.Struct], int]] = {
    "calibration": (Calibration, 3),
    "cascade": (CascadeConfig, 1),
    "no-plan": (NoPlan, 1),
    "plan": (Plan, 1),
    "problem": (Problem, 1),
    "planner-sample": (PlanSample, 1),
    "profile": (Profile, 1),
    "setup": (Scenario, 1),
    "sweep": (Sweep, 1),
}


def build_schema(name: str) -> str:
    """The schema of a file as JSON text."""
    struct, version = _STRUCTS[name]
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"cascadia/{name}/{version}",
        **_with_field_docs(msgspec.json.schema(struct), struct),
    }
    return json.dumps(schema, indent=1) + "\n"


def _with_field_docs(schema: dict[str, Any], struct: type[msgspec.Struct]) -> dict[str, Any]:
    """The schema of a struct, with the docstrings of its fields."""
    for kind in nested_structs(struct):
        definition = schema["$defs"][kind.__name__]
        definition["description"] = inspect.getdoc(kind)
        for name, text in field_docs(kind).items():
            definition["properties"][name]["description"] = text
    return schema


def main() -> None:
    """Write every schema beside this file."""
    for name in _STRUCTS:
        Path(__file__).with_name(f"{name}.json").write_text(build_schema(name))


if __name__ == "__main__":
    main()
