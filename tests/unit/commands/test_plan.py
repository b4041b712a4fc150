"""`cascadia plan` and `cascadia schema` as a shell sees them."""

import itertools
import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from cascadia_sglang.cli import main
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.schemas import NAMES, read_schema
from cascadia_sglang.schemas.write import build_schema
from tests.unit.planner.samples import routing_problem

PROBLEM: dict[str, Any] = {
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


@pytest.fixture
def problem(tmp_path: Path) -> Path:
    path = tmp_path / "problem.json"
    path.write_text(json.dumps(PROBLEM))
    return path


def test_a_plan_goes_to_stdout_as_its_schema_says(
    problem: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--problem", str(problem), "--json"]) == 0
    captured = capfd.readouterr()
    plan = json.loads(captured.out)
    assert captured.err == ""
    named = ("thresholds", "allocation", "objective_s", "quality", "bound_s", "gap", "status")
    assert [plan[name] for name in named] == [[0.7], [1, 6], 1.4, 0.88, 1.4, 0.0, "optimal"]
    assert plan["solve_s"] > 0
    jsonschema.validate(plan, json.loads(read_schema("plan")))
    jsonschema.validate(PROBLEM, json.loads(read_schema("problem")))


def test_a_plan_for_a_reader_names_every_tier(
    problem: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--problem", str(problem)]) == 0
    out = capsys.readouterr().out
    assert "small                1      100.0%     0.7000" in out
    assert "latency (slowest tier) 1.4 s, optimal" in out


def test_thresholds_that_were_searched_come_with_their_proof(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "problem.json"
    settings = {"method": "chebyshev", "confidence": 0.9}
    path.write_bytes(msgspec.json.encode(routing_problem(quality_floor=0.7, routing=settings)))
    assert main(["plan", "--problem", str(path), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    jsonschema.validate(plan, json.loads(read_schema("plan")))
    assert plan["search"]["method"] == "chebyshev"
    assert plan["certificate"]["lower_bound"] >= 0.7
    assert main(["plan", "--problem", str(path)]) == 0
    out = capsys.readouterr().out
    assert "thresholds by chebyshev; the best on the exact grid is" in out
    assert "with confidence 0.9, on 200 rows that chose nothing" in out


def test_a_plot_shows_the_front_that_the_plan_was_chosen_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, picture = tmp_path / "problem.json", tmp_path / "front.svg"
    path.write_bytes(msgspec.json.encode(routing_problem(quality_floor=0.9, tiers=2)))
    assert main(["plan", "--problem", str(path), "--plot", str(picture), "--json"]) == 0
    front = json.loads(capsys.readouterr().out)["front"]
    points = [(point["latency_s"], point["quality"]) for point in front]
    # No point is as fast and as good as another.
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(points))
    assert len(points) > 3
    assert picture.read_text().startswith("<?xml")


def test_candidates_have_no_front(problem: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--problem", str(problem), "--plot", "front.svg"]) == 2
    assert "candidates have no front to plot" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_no_plan_is_code_3_and_one_line(
    problem: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    problem.write_text(json.dumps({**PROBLEM, "gpu_budget": 3}))
    assert main(["plan", "--problem", str(problem), *flags]) == 3
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "tier 'large' lacks 2 GPUs" in captured.err
    if flags:
        answer = json.loads(captured.out)
        jsonschema.validate(answer, json.loads(read_schema("no-plan")))
        assert (answer["status"], answer["tier"], answer["lacks_gpus"]) == (
            "infeasible",
            "large",
            2,
        )


def test_a_floor_that_the_sample_does_not_show_is_code_4(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "problem.json"
    problem = routing_problem(300, quality_floor=0.95, routing={"confidence": 0.999})
    path.write_bytes(msgspec.json.encode(problem))
    assert main(["plan", "--problem", str(path), "--json"]) == 4
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    jsonschema.validate(answer, json.loads(read_schema("no-plan")))
    assert answer["status"] == "not_shown"
    assert "not shown with this sample: about 1,212 more are needed" in captured.err
    assert captured.err.count("\n") == 1


def test_a_plan_is_printed_whatever_becomes_of_its_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise ConfigError("picture front.svg: No space left on device")

    monkeypatch.setattr("cascadia_sglang.commands.plan.draw_front", full)
    path = tmp_path / "problem.json"
    path.write_bytes(msgspec.json.encode(routing_problem(quality_floor=0.9, tiers=2)))
    picture = str(tmp_path / "front.svg")
    assert main(["plan", "--problem", str(path), "--plot", picture, "--json"]) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out)["front"]
    assert "No space left" in captured.err


def test_an_unknown_key_comes_with_the_nearest(
    problem: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiers = [{"name": "small", "max_tpp": 2}, {"name": "large"}]
    problem.write_text(json.dumps({**PROBLEM, "tiers": tiers}))
    assert main(["plan", "--problem", str(problem)]) == 2
    error = capsys.readouterr().err
    assert "unknown field `max_tpp` - at `$.tiers[0]`, did you mean max_tp?" in error


def test_bad_input_is_code_2_and_one_line(
    problem: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    problem.write_text(json.dumps({**PROBLEM, "gpu_budget": -1}))
    assert main(["plan", "--problem", str(problem)]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "gpu_budget is -1" in captured.err


@pytest.mark.parametrize("limit", ["-1", "nan", "soon"])
def test_a_time_limit_that_is_none_is_refused(
    problem: Path, limit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["plan", "--problem", str(problem), "--time-limit-s", limit])
    assert ended.value.code == 2
    assert "--time-limit-s" in capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_that_of_the_struct(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", name]) == 0
    out = capsys.readouterr().out
    assert out == build_schema(name)
    jsonschema.Draft202012Validator.check_schema(json.loads(out))
