"""`cascadia advise` says when a cascade does not pay."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cascadia_sglang.cli import main
from tests.unit.planner.samples import routing_problem


def told(tmp_path: Path, capsys: pytest.CaptureFixture[str], **changes: Any) -> tuple[int, Any]:
    path = tmp_path / "problem.json"
    path.write_bytes(msgspec.json.encode(routing_problem(objective="path", **changes)))
    code = main(["advise", "--problem", str(path), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_cascade_that_is_faster_is_advised(tmp_path, capsys) -> None:
    code, advice = told(tmp_path, capsys, quality_floor=0.9)
    assert (code, advice["choice"]) == (0, "cascade")
    alone = [one["latency_s"] for one in advice["alone"] if one["reaches_floor"]]
    assert all(s is None or s > advice["cascade"]["objective_s"] for s in alone)


def test_a_tier_alone_that_is_as_fast_is_advised_instead(tmp_path, capsys) -> None:
    code, advice = told(tmp_path, capsys, quality_floor=0.3)
    assert (code, advice["choice"]) == (0, "t0")


def test_nothing_that_keeps_the_floor_is_code_3(tmp_path, capsys) -> None:
    code, advice = told(tmp_path, capsys, quality_floor=1.0)
    assert (code, advice["choice"], advice["cascade"]) == (3, None, None)


def test_a_reader_is_told_the_cost(tmp_path, capsys) -> None:
    path = tmp_path / "problem.json"
    path.write_bytes(msgspec.json.encode(routing_problem(objective="path", quality_floor=0.3)))
    assert main(["advise", "--problem", str(path), "--price-per-gpu-hour", "2"]) == 0
    out = capsys.readouterr().out
    assert "do not cascade: t0 alone is as fast" in out
    assert "32.00" in out


def test_explicit_candidates_say_nothing_of_tiers_alone(tmp_path, capsys) -> None:
    path = tmp_path / "problem.json"
    candidate = {"thresholds": [], "quality": 1, "shares": [1], "latency_s": [{"1": 1.0}]}
    problem = {"gpu_budget": 1, "tiers": [{"name": "a"}], "candidates": [candidate]}
    path.write_text(json.dumps({**problem, "objective": "path"}))
    assert main(["advise", "--problem", str(path)]) == 2
    assert "calibration and latency_by_share_s" in capsys.readouterr().err


def test_the_slowest_tier_is_no_measure_of_what_a_request_waits(tmp_path, capsys) -> None:
    path = tmp_path / "problem.json"
    path.write_bytes(msgspec.json.encode(routing_problem(objective="bottleneck")))
    assert main(["advise", "--problem", str(path)]) == 2
    assert "objective needs to be path" in capsys.readouterr().err
