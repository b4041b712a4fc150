"""`calibrate` of the Python API, on answers that were recorded before."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cascadia_sglang import CalibrationResult, calibrate, load_cascade
from cascadia_sglang.cli import main
from cascadia_sglang.errors import CalibrationError
from tests.unit.commands.recorded import write_records, write_sample


@pytest.fixture
def cascade(tmp_path: Path) -> Path:
    tiers = [{"name": name, "model_path": f"demo/models/{name}"} for name in ("small", "large")]
    path = tmp_path / "cascade.json"
    path.write_text(json.dumps({"version": 1, "tiers": tiers}))
    return path


def test_the_result_is_what_the_command_prints_and_the_report_holds(
    cascade: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_sample(tmp_path, 600), tmp_path / "out"
    write_records(cascade, data, out)
    result = calibrate(str(cascade), data=str(data), out=str(out), escalation_rate=0.5)
    assert capsys.readouterr().out == ""
    report = json.loads((out / "report.json").read_text())
    assert result.cascade_file == out / "calibrated.yaml"
    assert list(result.thresholds) == report["thresholds"]
    assert load_cascade(result.cascade_file).routing.thresholds == report["thresholds"]
    assert result.held_out.quality == report["held_out"]["quality"]
    assert result.verdict.is_reached
    command = ["calibrate", str(cascade), "--data", str(data), "--out", str(out)]
    assert main([*command, "--escalation-rate", "0.5"]) == 0
    assert capsys.readouterr().out.splitlines() == list(result.lines)


def test_another_thread_may_calibrate(cascade: Path, tmp_path: Path) -> None:
    """Only the main thread can handle signals."""
    data, out = write_sample(tmp_path, 600), tmp_path / "out"
    write_records(cascade, data, out)

    def fit() -> CalibrationResult:
        return calibrate(cascade, data=data, out=out, tier_cost={"large": 8.0, "small": 1.0})

    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(fit).result(timeout=60)
    assert result.verdict.target.kind == "loss"
    assert result.verdict.target.value == 0.01
    shares = result.held_out.shares
    assert result.held_out.cost == pytest.approx(shares[0] + 8.0 * shares[1])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_loss": 0.1, "max_cost": 2.0}, "max_loss and max_cost are given, allowed: one"),
        ({"target_quality": 1.5}, "target_quality is 1.5, allowed: 0 to 1"),
        ({"tier_cost": {"small": 1.0}, "gpu": "L4"}, "tier_cost and gpu are given, allowed: one"),
        ({"tier_cost": {"small": 1.0}}, "'small=1' needs one number above 0 for each of small, l"),
        ({"tier_cost": {"small": 1.0, "large": 0.0}}, "needs one number above 0"),
        ({"tier_cost": {"small": 1.0, "large": 8.0, "huge": 9.0}}, "needs one number above 0"),
    ],
)
def test_wrong_values_end_before_anything_is_asked(
    cascade: Path, tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    data, out = write_sample(tmp_path, 600), tmp_path / "out"
    with pytest.raises(CalibrationError, match=message):
        calibrate(cascade, data=data, out=out, **values)
    assert not out.exists()
