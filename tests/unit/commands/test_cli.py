"""The `cascadia` command as a shell sees it."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from cascadia_sglang import __version__
from cascadia_sglang.cli import COMMANDS, main


def test_a_valid_file_is_said_to_be_valid(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "demo/cascade.yaml"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("demo/cascade.yaml is valid: small, middle, large\n")


def test_bad_input_ends_with_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cascade.json"
    path.write_text(json.dumps({"version": 1, "tiers": [], "nonsense": 1}))
    assert main(["validate", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "nonsense" in captured.err


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
    error = capsys.readouterr().err
    assert error.startswith(f"cascadia: unknown command 'conjure', allowed: {', '.join(COMMANDS)};")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["calibrat"], "cascadia: unknown command 'calibrat', did you mean calibrate?"),
        (["Plans"], "did you mean plan?"),
        (["plan", "--problm", "x", "--problem", "y"], "--problm, did you mean --problem?"),
        (["status", "--apikey", "x"], "did you mean --api-key?"),
        (["plan", "--problem", "x", "--unheard-of"], "unknown argument --unheard-of; see"),
        (["--verson"], "the following arguments are required: COMMAND"),
        (["--verbose", "status"], "unknown argument --verbose"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_a_slip_of_the_pen_is_one_line_with_the_nearest_name(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_version_is_that_of_the_package_and_of_sglang(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    expected = f"cascadia {__version__}, SGLang {version('sglang')}\n"
    assert capsys.readouterr().out == expected


def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    cascade, nowhere = "demo/cascade.yaml", str(tmp_path / "nowhere" / "out")
    for words, message in (
        (["profile", cascade, "--out", nowhere], f"--out {nowhere}: the folder"),
        (["profile", cascade, "--out", str(tmp_path)], "it is a folder"),
        (["plan", "--problem", "none", "--plot", f"{nowhere}.svg"], "--plot"),
        (
            ["plan", "--problem", "none", "--plot", str(tmp_path / "x.doc")],
            "allowed: a name that ends in",
        ),
    ):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_a_calibration_of_another_place_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = Path("demo/models").resolve()
    tiers = [
        {
            "name": name,
            "model_path": str(models / name),
            "calibration": str(models / name / "calibration.json"),
        }
        for name in ("middle", "large")
    ]
    path = tmp_path / "cascade.json"
    path.write_text(json.dumps({"version": 1, "tiers": tiers, "routing": {"thresholds": [0.5]}}))
    assert main(["validate", str(path)]) == 2
    assert "fitted behind 1 tiers, but this tier is behind 0" in capsys.readouterr().err


def test_an_interrupt_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("cascadia_sglang.commands.validate.run", interrupted)
    assert main(["validate", "x.yaml"]) == 130
    assert capsys.readouterr().err == "cascadia validate: interrupted\n"
