"""Whatever a file holds, its reader takes it or refuses it with one line that names it."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cascadia_sglang.calibration.record.sample import read_sample
from cascadia_sglang.config.cascade_file import load_cascade
from cascadia_sglang.entry.model import EntryModel, TierChance, load_entry_model
from cascadia_sglang.errors import CascadiaError
from cascadia_sglang.judge.calibration import load_calibration
from cascadia_sglang.planner.problem.checks import load_problem
from cascadia_sglang.planner.simulation.scenario import load_scenario
from cascadia_sglang.planner.speed.profile import load_profile
from cascadia_sglang.planner.thresholds.sample import load_plan_sample
from cascadia_sglang.planner.workload.traces import load_trace
from tests.unit.fuzz.damage import EXAMPLES, JSON, damaged, mutated
from tests.unit.planner.workload.test_traces import AZURE, BURST, MOONCAKE, OWN, SESSION

DEMO = Path("demo").resolve()
Read = Callable[[Path], Any]

CASCADE = yaml.safe_load((DEMO / "cascade.yaml").read_text().replace("models/", f"{DEMO}/models/"))
for key in ("entry_model",):
    CASCADE["routing"][key] = str(DEMO / CASCADE["routing"][key])
CASCADE["planner"]["sample"] = str(DEMO / "sample.json")
CASCADE["tiers"][1]["draft_calibration"] = str(DEMO / "middle.draft.json")

TABLES = {
    "gpu_budget": 8,
    "quality_floor": 0.85,
    "objective": "bottleneck",
    "tiers": [{"name": "small"}, {"name": "large"}],
    "candidates": [
        {
            "thresholds": [0.7],
            "quality": 0.88,
            "shares": [1.0, 0.31],
            "latency_s": [{"1": 0.9, "2": 0.5}, {"4": 2.1, "6": 1.4}],
        }
    ],
}
SAMPLE = json.loads((DEMO / "sample.json").read_text())
PLAN_SAMPLE = {**SAMPLE, "rows": SAMPLE["rows"][:3]}
PROFILE = json.loads(Path("bench/planner/emulated.json").read_text())
LIMITS = {"kv_tokens": 65536, "max_running_requests": 32}
PROFILE["limits"] = dict.fromkeys(PROFILE["tiers"], LIMITS)
SCENARIO = {
    "version": 1,
    "profile": PROFILE,
    "tiers": [{"name": "small"}, {"name": "large", "share": 0.3, "kept": 0.5}],
}
CHANCE = TierChance(weights=bytes(4 * 16), length_weight=0.0, bias=1.0, skip_below=0.5)
ENTRY = msgspec.to_builtins(
    EntryModel(
        version=1,
        tiers=["small", "large"],
        vocabulary="0" * 16,
        ngrams=1,
        bits=4,
        chances=[CHANCE],
        samples=1,
        report={},
    )
)
QUESTIONS = (
    {"id": "a", "prompt": "rev abc", "reference": "cba", "group": "rev"},
    {
        "id": "b",
        "messages": [{"role": "user", "content": "add 1 2"}],
        "reference": [3, "three"],
        "constraint": {"regex": "[0-9]"},
    },
)


def entry(path: Path) -> EntryModel:
    return load_entry_model(path, ["small", "large"])


def plan_sample(path: Path) -> Any:
    return load_plan_sample(path, ["small", "middle", "large"])


def calibration(path: str) -> Any:
    return json.loads((DEMO / path).read_text())


# By name: what reads it, the name of the file, and what it may hold.
TREES: dict[str, tuple[Read, str, Any]] = {
    "cascade": (load_cascade, "cascade.json", CASCADE),
    "problem": (load_problem, "problem.json", TABLES),
    "calibration": (load_calibration, "c.json", calibration("models/small/calibration.json")),
    "draft calibration": (load_calibration, "d.json", calibration("middle.draft.json")),
    "planner sample": (plan_sample, "sample.json", PLAN_SAMPLE),
    "profile": (load_profile, "profile.json", PROFILE),
    "scenario": (load_scenario, "plan.json", SCENARIO),
    "entry model": (entry, "entry.json", ENTRY),
}
TEXTS: dict[str, tuple[Read, str, str]] = {
    "cascade in YAML": (load_cascade, "cascade.yaml", yaml.safe_dump(CASCADE)),
    "sample": (read_sample, "s.jsonl", "\n".join(map(json.dumps, QUESTIONS))),
    "own trace": (load_trace, "trace.csv", OWN),
    "Azure's trace": (load_trace, "trace.csv", AZURE),
    "BurstGPT's trace": (load_trace, "trace.csv", BURST),
    "Mooncake's trace": (load_trace, "trace.jsonl", MOONCAKE),
    "a trace of sessions": (load_trace, "trace.jsonl", SESSION),
}
FILES: dict[str, tuple[Read, str, bytes]] = {
    **{name: (read, file, json.dumps(tree).encode()) for name, (read, file, tree) in TREES.items()},
    **{name: (read, file, text.encode()) for name, (read, file, text) in TEXTS.items()},
    "a trace in gzip": (load_trace, "trace.csv.gz", gzip.compress(OWN.encode(), mtime=0)),
}


def read_or_refuse(read: Read, name: str, content: bytes) -> None:
    """Anything but an answer and one line of error fails."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            read(path)
        except CascadiaError as error:
            line = str(error)
            assert "\n" not in line
            assert name in line


@pytest.mark.parametrize("name", FILES)
def test_the_whole_file_is_taken(name: str, tmp_path: Path) -> None:
    read, file, content = FILES[name]
    (tmp_path / file).write_bytes(content)
    assert read(tmp_path / file)


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
@settings(max_examples=EXAMPLES)
def test_damaged_bytes_are_taken_or_refused_with_one_line(name: str, data: st.DataObject) -> None:
    read, file, content = FILES[name]
    read_or_refuse(read, file, data.draw(damaged(content)))


@pytest.mark.parametrize("name", TREES)
@given(data=st.data())
@settings(max_examples=EXAMPLES)
def test_other_values_are_taken_or_refused_with_one_line(name: str, data: st.DataObject) -> None:
    read, file, tree = TREES[name]
    other = data.draw(mutated(tree) | JSON)
    read_or_refuse(read, file, json.dumps(other).encode())


@pytest.mark.parametrize("name", TREES)
def test_a_key_with_a_line_break_is_told_in_one_line(name: str) -> None:
    read, file, tree = TREES[name]
    read_or_refuse(read, file, json.dumps({**tree, "a\nb": 1}).encode())
    read_or_refuse(read, file, json.dumps({"\n": None}).encode())


@given(lines=st.lists(st.sampled_from(QUESTIONS).flatmap(mutated) | JSON, max_size=3))
@settings(max_examples=EXAMPLES)
def test_other_questions_are_taken_or_refused_with_one_line(lines: list[Any]) -> None:
    read_or_refuse(read_sample, "s.jsonl", "\n".join(map(json.dumps, lines)).encode())
