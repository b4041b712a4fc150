"""The `cascadia` command as a shell sees it."""

import json
from pathlib import Path

import pytest

from cascadia_sglang.cli import COMMANDS, main


def test_a_valid_file_is_said_to_be_valid(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "bench/ladder/cascade.yaml"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("bench/ladder/cascade.yaml is valid: small, middle, large\n")


def test_bad_input_ends_with_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cascade.json"
    path.write_text(json.dumps({"version": 1, "tiers": [], "nonsense": 1}))
    assert main(["validate", str(path)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert "nonsense" in told.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"    cascadia {command} " in capsys.readouterr().out


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["conjure"])
    assert ended.value.code == 2
    assert "conjure" in capsys.readouterr().err


def test_a_calibration_of_another_place_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ladder = Path("bench/ladder").resolve()
    tiers = [
        {
            "name": name,
            "model_path": str(ladder / name),
            "calibration": str(ladder / name / "calibration.json"),
        }
        for name in ("middle", "large")
    ]
    path = tmp_path / "cascade.json"
    path.write_text(json.dumps({"version": 1, "tiers": tiers, "routing": {"thresholds": [0.5]}}))
    assert main(["validate", str(path)]) == 2
    assert "fitted behind 1 tiers, but this tier is behind 0" in capsys.readouterr().err
