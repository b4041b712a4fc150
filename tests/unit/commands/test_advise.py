"""`cascadia advise` says when a cascade does not pay, beside each tier alone and a router."""

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from cascadia_sglang.calibration.fit.split import part_of
from cascadia_sglang.calibration.record.records import Record, RecordFile
from cascadia_sglang.calibration.record.sample import prompt_key, read_sample
from cascadia_sglang.cli import main
from cascadia_sglang.judge.calibration import ScoreModel, load_calibration
from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.planner.problem.checks import load_problem
from tests.unit.commands.recorded import write_drafts, write_records, write_sample
from tests.unit.planner.samples import curves, routing_problem, rows
from tests.unit.planner.whole_problems import workload_data

LOG_TOKENS = FEATURES.index("log_tokens")
LOG_PROMPT_TOKENS = FEATURES.index("log_prompt_tokens")
# Larger tiers much slower than smaller ones.
STEEP = [
    {gpus: [[share, seconds * factor] for share, seconds in pairs] for gpus, pairs in table.items()}
    for table, factor in zip(curves(3, 16), (0.02, 0.2, 1.0), strict=True)
]


def run_advise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], **changes: Any
) -> tuple[int, Any]:
    path = tmp_path / "problem.json"
    path.write_bytes(msgspec.json.encode(routing_problem(objective="path", **changes)))
    code = main(["advise", "--problem", str(path), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_cascade_that_is_faster_is_advised(tmp_path, capsys) -> None:
    code, advice = run_advise(tmp_path, capsys, quality_floor=0.9, latency_by_share_s=STEEP)
    assert (code, advice["choice"]) == (0, "cascade")
    seconds = advice["cascade"]["objective_s"]
    alone = [answer["latency_s"] for answer in advice["alone"] if answer["reaches_floor"]]
    assert all(s is None or s > seconds for s in alone)
    assert seconds < advice["router"]["latency_s"] == advice["reference_s"]
    # As fast as the best without a cascade, with fewer GPUs.
    assert advice["least_gpus"]["cascade"] < advice["least_gpus"]["router"] <= 16


def test_a_router_without_predictions_mixes_tiers_by_chance(tmp_path, capsys) -> None:
    code, advice = run_advise(tmp_path, capsys, quality_floor=0.8)
    router = advice["router"]
    assert (code, advice["choice"], router["knows"]) == (0, "router", "nothing")
    qualities = [answer["quality"] for answer in advice["alone"]]
    mixed = sum(share * q for share, q in zip(router["shares"], qualities, strict=True))
    assert router["quality"] == pytest.approx(mixed)
    assert mixed >= 0.8
    assert sum(router["shares"]) == pytest.approx(1)


def test_predictions_that_know_every_answer_beat_every_cascade(tmp_path, capsys) -> None:
    """A router that sends each prompt to the first tier that is right pays for no other."""
    calibration = [
        {"scores": row.scores, "correct": row.correct, "entry": row.correct[:2]}
        for row in rows(400, 0, 3)
    ]
    code, advice = run_advise(
        tmp_path, capsys, quality_floor=0.9, latency_by_share_s=STEEP, calibration=calibration
    )
    router = advice["router"]
    assert (code, advice["choice"], router["knows"]) == (0, "router", "predictions")
    assert router["latency_s"] < advice["cascade"]["objective_s"]
    assert router["quality"] >= 0.9


def test_predictions_of_some_rows_alone_are_refused(tmp_path, capsys) -> None:
    path = tmp_path / "problem.json"
    problem = msgspec.to_builtins(routing_problem(objective="path"))
    problem["calibration"][0]["entry"] = [0.5, 0.5]
    path.write_text(json.dumps(problem))
    assert main(["advise", "--problem", str(path)]) == 2
    assert "1 of 400 rows of calibration have entry" in capsys.readouterr().err


def test_advice_from_a_workload_simulates_every_option(tmp_path, capsys) -> None:
    path = tmp_path / "problem.json"
    path.write_text(json.dumps(workload_data(objective="path")))
    assert main(["advise", "--problem", str(path), "--workers", "0", "--json"]) == 0
    advice = json.loads(capsys.readouterr().out)
    assert all(option["latency_s"] > 0 for option in advice["alone"])
    assert all(0 < gpus <= 8 for gpus in advice["least_gpus"].values())
    assert {advice["choice"]} <= {*advice["least_gpus"]}


def test_drafts_help_the_cascade_and_no_other(tmp_path, capsys) -> None:
    path = tmp_path / "problem.json"
    printed = []
    for share in (None, 0.9):
        data = workload_data(objective="path")
        data["tiers"][1]["kept"] = share
        path.write_text(json.dumps(data))
        assert main(["advise", "--problem", str(path), "--json", "--workers", "0"]) == 0
        printed.append(json.loads(capsys.readouterr().out))
    anew, reading = printed
    assert reading["alone"] == anew["alone"]
    assert reading["router"] == anew["router"]
    assert reading["cascade"]["objective_s"] < anew["cascade"]["objective_s"]


def test_a_tier_alone_that_is_as_fast_is_advised_instead(tmp_path, capsys) -> None:
    code, advice = run_advise(tmp_path, capsys, quality_floor=0.3)
    assert (code, advice["choice"]) == (0, "t0")


def test_nothing_that_keeps_the_floor_is_code_3(tmp_path, capsys) -> None:
    code, advice = run_advise(tmp_path, capsys, quality_floor=1.0)
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
    assert "calibration with latency_by_share_s or a workload" in capsys.readouterr().err


def test_the_slowest_tier_is_no_measure_of_what_a_request_waits(tmp_path, capsys) -> None:
    path = tmp_path / "problem.json"
    path.write_bytes(msgspec.json.encode(routing_problem(objective="bottleneck")))
    assert main(["advise", "--problem", str(path)]) == 2
    assert "objective needs to be path" in capsys.readouterr().err


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """Arguments of `advise` for a cascade that was calibrated on a sample, and its folder.

    Shared by the tests that leave it as it is.
    """
    folder = tmp_path_factory.mktemp("calibrated")
    out, path = folder / "out", folder / "cascade.json"
    tiers = [
        {
            "name": name,
            "model_path": f"demo/models/{name}",
            "calibration": str(out / f"{name}.json"),
        }
        for name in ("small", "large")
    ]
    routing = {"thresholds": [0.5]}
    path.write_text(json.dumps({"version": 1, "tiers": tiers, "routing": routing}))
    data = write_sample(folder, 600)
    write_records(path, data, out)
    given = [str(path), "--data", str(data), "--out", str(out)]
    assert main(["calibrate", *given, "--escalation-rate", "0.5"]) == 0
    return ["advise", *given, "--gpus", "4", "--workers", "0"], out


def test_a_sample_is_judged_by_the_cascades_own_scores_and_makes_a_problem(
    calibrated: tuple[list[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, out = calibrated
    made = tmp_path / "problem.json"
    capsys.readouterr()
    assert main([*arguments, "--rate", "5", "--json", "--problem-out", str(made)]) == 0
    advice = json.loads(capsys.readouterr().out)
    assert [option["tier"] for option in advice["alone"]] == ["small", "large"]
    problem = load_problem(made)
    model = ScoreModel(load_calibration(out / "small.json"))
    with RecordFile(out / "records.jsonl", Record) as file:
        records = {(record.tier, record.id): record for record in file.load().values()}
    kept_ids = [
        q.id for q in read_sample(out.parent / "set.jsonl") if part_of(prompt_key(q)) != "fit"
    ]
    assert len(problem.calibration) == len(kept_ids)
    for row, name in zip(problem.calibration, kept_ids, strict=True):
        small, large = records["small", name], records["large", name]
        assert row.scores == pytest.approx([model.score(np.array(small.features[-1]))])
        assert row.correct == [float(record.text == "yes") for record in (small, large)]
    right = [row.correct[1] for row in problem.calibration]
    assert problem.quality_floor == pytest.approx(sum(right) / len(right) - 0.01)
    assert [tier.kept for tier in problem.tiers] == [None, None]
    assert main(["plan", "--problem", str(made), "--workers", "0"]) == 0


def test_drafts_that_are_likely_to_climb_say_what_is_kept(
    calibrated: tuple[list[str], Path], tmp_path: Path
) -> None:
    _, given, _, data, _, given_out, *more = calibrated[0]
    cascade, out = tmp_path / "cascade.json", tmp_path / "out"
    shutil.copytree(given_out, out)
    config = json.loads(Path(given).read_text())
    config["routing"]["drafts"] = "on"
    cascade.write_text(json.dumps(config))
    write_drafts(cascade, Path(data), out, [1.0, 0.25])
    made = tmp_path / "problem.json"
    arguments = ["advise", str(cascade), "--data", data, "--out", str(out), *more]
    assert main([*arguments, "--rate", "5", "--json", "--problem-out", str(made)]) == 0
    model = ScoreModel(load_calibration(out / "small.json"))
    with RecordFile(out / "records.jsonl", Record) as file:
        small = {record.id: record for record in file.load().values() if record.tier == "small"}
    scores = [model.score(np.array(small[f"q{row}"].features[-1])) for row in range(600)]
    climbs = 1.0 - np.array(scores)
    tokens = np.exp([small[f"q{row}"].features[-1][LOG_TOKENS] for row in range(600)])
    expected = np.average(np.tile([1.0, 0.25], 300), weights=climbs * tokens)
    kept_shares = [tier.kept for tier in load_problem(made).tiers]
    assert kept_shares == [None, pytest.approx(expected)]


def test_a_sample_says_how_many_tokens_each_tier_makes_of_a_prompt(
    calibrated: tuple[list[str], Path], tmp_path: Path
) -> None:
    """A prompt of 20 tokens at the small tier is one of 30 at the large one."""
    _, given, _, data, _, given_out, *more = calibrated[0]
    out, made = tmp_path / "out", tmp_path / "problem.json"
    shutil.copytree(given_out, out)
    with RecordFile(out / "records.jsonl", Record) as file:
        records = list(file.load().values())
    (out / "records.jsonl").unlink()
    with RecordFile(out / "records.jsonl", Record) as file:
        for record in records:
            tokens = 20 if record.tier == "small" else 30
            features = [*record.features[-1]]
            features[LOG_PROMPT_TOKENS] = float(np.log1p(tokens))
            file.append(msgspec.structs.replace(record, features=[features]))
    arguments = ["advise", given, "--data", data, "--out", str(out), *more]
    assert main([*arguments, "--rate", "5", "--json", "--problem-out", str(made)]) == 0
    problem = load_problem(made)
    assert problem.workload is not None
    assert problem.workload.input_tokens == 20
    assert [tier.prompt_length for tier in problem.tiers] == [1.0, 1.5]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ([], "needed: --rate, or a --trace whose own rate counts"),
        (["--rate", "5", "--gpu", "T3"], "gpu.name is 'T3', known: "),
        (["--rate", "-1"], "workload.rate_per_s is -1.0, allowed: above 0, or null"),
        (["--problem", "p.json"], "needed: a cascade file with --data, or --problem"),
    ],
)
def test_what_a_sample_lacks_is_said_in_a_line(
    calibrated: tuple[list[str], Path],
    capsys: pytest.CaptureFixture[str],
    changed: list[str],
    message: str,
) -> None:
    arguments, _ = calibrated
    capsys.readouterr()
    assert main([*arguments, *changed]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    # What the sample holds may be said before.
    *earlier, last = captured.err.splitlines()
    assert message in last
    assert all(line.startswith("labels: ") for line in earlier)
