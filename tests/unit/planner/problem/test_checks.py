"""Problem files that do not fit: one line with the place."""

import copy
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.planner.latency.shapes import sheet_of
from cascadia_sglang.planner.problem.checks import load_problem
from cascadia_sglang.planner.problem.problem import GpuSheet
from tests.unit.planner.whole_problems import workload_data

CANDIDATE = {
    "thresholds": [0.7],
    "quality": 0.88,
    "shares": [1.0, 0.31],
    "latency_s": [{"1": 0.9, "2": 0.5}, {"4": 2.1, "6": 1.4}],
}
TABLES = {
    "gpu_budget": 8,
    "quality_floor": 0.85,
    "tiers": [{"name": "small"}, {"name": "large"}],
    "candidates": [CANDIDATE],
}
SEARCH = {
    "gpu_budget": 8,
    "quality_floor": 0.5,
    "tiers": [{"name": "small"}, {"name": "large"}],
    "calibration": [{"scores": [0.5], "correct": [0, 1]}],
    "latency_by_share_s": [{"1": [[0.0, 0.1], [1.0, 0.5]]}, {"2": [[1.0, 1.0]]}],
}


def changed(base: dict[str, Any], key_path: list[Any], value: Any) -> dict[str, Any]:
    data = copy.deepcopy(base)
    inner: Any = data
    for key in key_path[:-1]:
        inner = inner[key]
    inner[key_path[-1]] = value
    return data


@pytest.mark.parametrize("data", [TABLES, SEARCH], ids=["tables", "search"])
def test_a_file_that_fits_is_read(tmp_path: Path, data: dict[str, Any]) -> None:
    path = tmp_path / "problem.json"
    path.write_text(json.dumps(data))
    assert load_problem(path).gpu_budget == 8


def test_a_model_is_a_folder_beside_the_file_or_a_hub_name(tmp_path: Path) -> None:
    (tmp_path / "owner" / "model").mkdir(parents=True)
    data = copy.deepcopy(TABLES)
    names = ["owner/model", "Qwen/Qwen3-8B"]
    data["tiers"] = [{"name": name[-2:], "model": name} for name in names]
    path = tmp_path / "problem.json"
    path.write_text(json.dumps(data))
    models = [tier.model for tier in load_problem(path).tiers]
    assert models == [str(tmp_path / "owner" / "model"), "Qwen/Qwen3-8B"]


NAN = float("nan")
CASES: list[tuple[dict[str, Any], list[Any], Any, str]] = [
    (TABLES, ["candidates", 0, "latency_s", 1, "4"], NAN, 'candidates[0].latency_s[1]["4"] is nan'),
    (TABLES, ["candidates", 0, "latency_s", 0, "1"], float("inf"), "is inf, allowed: 0 or more"),
    (TABLES, ["candidates", 0, "latency_s", 0, "1"], -1.0, "is -1.0, allowed: 0 or more"),
    (
        TABLES,
        ["candidates", 0, "latency_s", 0, "0"],
        1.0,
        'candidates[0].GPUs of latency_s[0]["0"] is 0, allowed: 1',
    ),
    (TABLES, ["candidates", 0, "latency_s", 0, "x"], 1.0, "Expected `int`"),
    (TABLES, ["candidates", 0, "latency_s"], [{"1": 1.0}], "latency_s has 1 entries, needed: 2"),
    (TABLES, ["candidates", 0, "latency_s"], [], "latency_s or deployments is needed"),
    (TABLES, ["candidates", 0, "thresholds"], [], "thresholds has 0 entries, needed: 1"),
    (TABLES, ["candidates", 0, "thresholds"], [1.5], "thresholds[0] is 1.5, allowed: 0 to 1"),
    (TABLES, ["candidates", 0, "quality"], NAN, "quality is nan, allowed: 0 to 1"),
    (TABLES, ["candidates", 0, "shares"], [1.0], "shares has 1 entries, needed: 2"),
    (TABLES, ["candidates", 0, "shares"], [1.0, 1.1], "shares[1] is 1.1, allowed: 0 to 1"),
    (TABLES, ["candidates"], [], "needed: candidates, or calibration"),
    (TABLES, ["calibration"], SEARCH["calibration"], "not both"),
    (
        TABLES,
        ["gpu"],
        {"name": "H100", "host_step_ms": -1.0},
        "gpu.host_step_ms is -1.0, allowed: 0 or more",
    ),
    (TABLES, ["gpu_budget"], 0, "gpu_budget is 0, allowed: 1 to 1000000"),
    (TABLES, ["gpu_budget"], 10**30, "allowed: 1 to 1000000"),
    (TABLES, ["gpu_budget"], 1.5, "Expected `int`"),
    (TABLES, ["quality_floor"], 2.0, "quality_floor is 2.0, allowed: 0 to 1"),
    (TABLES, ["objective"], "fastest", "Invalid enum value 'fastest'"),
    (TABLES, ["version"], 2, "version is 2, allowed: 1"),
    (TABLES, ["nonsense"], 1, "unknown field `nonsense`"),
    (TABLES, ["tiers", 1, "name"], "small", "'small' is used twice"),
    (TABLES, ["switching_cost_s"], NAN, "switching_cost_s is nan"),
    (SEARCH, ["calibration", 0, "scores"], [], "calibration[0].scores has 0 entries, needed: 1"),
    (SEARCH, ["calibration", 0, "scores"], [NAN], "calibration[0].scores[0] is nan"),
    (SEARCH, ["calibration", 0, "correct"], [1], "correct has 1 entries, needed: 2"),
    (SEARCH, ["calibration", 0, "weight"], 0.0, "no row of a weight above 0"),
    (SEARCH, ["latency_by_share_s", 0, "1"], [], "is empty, needed: at least one pair"),
    (SEARCH, ["latency_by_share_s", 0, "1"], [[0.5, 1.0], [0.5, 2.0]], "allowed: above 0.5"),
    (SEARCH, ["latency_by_share_s", 0, "1"], [[0.5, 1.0], [0.7, 0.9]], "allowed: 1.0 or more"),
    (SEARCH, ["routing"], {"quantiles": 65}, "routing.quantiles is 65, allowed: 2 to 64"),
    (SEARCH, ["routing"], {"method": "guess"}, "Invalid enum value 'guess'"),
    (SEARCH, ["routing"], {"confidence": 1.0}, "routing.confidence is 1.0"),
]


@pytest.mark.parametrize(("base", "key_path", "value", "says"), CASES, ids=[c[3] for c in CASES])
def test_a_file_that_does_not_fit_is_one_line_with_its_place(
    tmp_path: Path, base: dict[str, Any], key_path: list[Any], value: Any, says: str
) -> None:
    path = tmp_path / "problem.json"
    path.write_text(json.dumps(changed(base, key_path, value)))
    with pytest.raises(ConfigError, match="problem ") as caught:
        load_problem(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"), [(None, "No such file"), (b"{", "no JSON"), (b"\xff\xfe\x00", "no JSON")]
)
def test_a_file_that_is_none_is_one_line(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "problem.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=says):
        load_problem(path)


CARD = {
    "name": "X1",
    "tflops": 100,
    "memory_gb": 64,
    "memory_gb_per_s": 2000,
    "link_gb_per_s": 200,
    "gpus_per_node": 4,
}


def test_a_card_of_ones_own_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    path = tmp_path / "problem.json"
    gpu = {"name": "X1", "file": "card.json", "memory_gb": 80}
    path.write_text(json.dumps(workload_data(gpu=gpu)))
    problem = load_problem(path)
    assert problem.gpu == msgspec.convert({**CARD, "memory_gb": 80}, GpuSheet)
    assert [kind.gpus_per_node for kind in problem.cluster] == [4]
    (kind,) = problem.cluster
    sheet = sheet_of(problem, kind)
    assert sheet is not None
    assert (sheet.memory_gb, sheet.memory_gb_per_s) == (80, 2000)


def test_a_card_file_of_another_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    path = tmp_path / "problem.json"
    path.write_text(json.dumps(workload_data(gpu={"name": "X2", "file": "card.json"})))
    with pytest.raises(ConfigError, match="name is 'X1', needed: 'X2'"):
        load_problem(path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"objective": "slo", "slo": {}}, "objective slo needs a target in slo"),
        ({"price_per_gpu_hour": {"A100": 1.0}}, "price_per_gpu_hour has 'A100', needed: H100"),
        ({"slo": {"e2e_ms": 1.0, "attainment": 1.5}}, "slo.attainment is 1.5, allowed: 0 to 1"),
        ({"least_gain": -0.1}, "least_gain is -0.1, allowed: 0 to 1"),
    ],
)
def test_what_goes_with_an_objective_is_checked(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    path = tmp_path / "problem.json"
    path.write_text(json.dumps(workload_data(**changes)))
    with pytest.raises(ConfigError, match=says):
        load_problem(path)


def test_slo_needs_a_workload(tmp_path: Path) -> None:
    path = tmp_path / "problem.json"
    candidate = {"thresholds": [], "quality": 1, "shares": [1], "latency_s": [{"1": 1.0}]}
    data = {
        "gpu_budget": 2,
        "objective": "slo",
        "slo": {"e2e_ms": 5.0},
        "tiers": [{"name": "a"}],
        "candidates": [candidate],
    }
    path.write_text(json.dumps(data))
    with pytest.raises(ConfigError, match="objective slo needs a workload"):
        load_problem(path)
