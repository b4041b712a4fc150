"""`cascadia validate`: what it refuses in a file, and the table that it ends with."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cascadia_sglang.cli import main
from cascadia_sglang.memory import host
from tests.repo.source import ROOT
from tests.unit.model_checks.small_models import write_model

CASCADE = ROOT / "tests" / "system" / "cascade.yaml"


def validate(path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str]:
    code = main(["validate", str(path), *more])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


@pytest.fixture
def changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes the test cascade with a text in place of another."""
    monkeypatch.chdir(ROOT)

    def write(old: str, new: str) -> Path:
        text = CASCADE.read_text()
        assert old in text
        path = tmp_path / "cascade.yaml"
        path.write_text(text.replace(old, new))
        return path

    return write


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("max_total_tokens: 65536", "max-total-tokens: 9", "did you mean max_total_tokens?"),
        (
            "max_total_tokens: 65536",
            "max_total_tokens: '9'",
            "tiers[0].server_args.max_total_tokens is '9', allowed: an integer of at most 64 bits",
        ),
        (
            "max_total_tokens: 65536",
            "encoder_only: true",
            "tiers[0].server_args.encoder_only is True: encoder disaggregation has no tier",
        ),
        ("thresholds", "treshholds", "`treshholds` - at `$.routing`, did you mean thresholds?"),
        ("routing", "rounting", "unknown field `rounting`, did you mean routing?"),
        (
            "name: large",
            "name: large\n    name: huge",
            "tiers[1].name is given twice (line 9, first on line 8)",
        ),
        (
            "{max_total_tokens: 65536}",
            "{max_total_tokens: 1, max_total_tokens: 2}",
            "tiers[0].server_args.max_total_tokens is given twice (line 7)",
        ),
        (
            "max_total_tokens: 65536",
            "max_total_tokens: 0100000",
            "tiers[0].server_args.max_total_tokens (line 7): 0100000 is an octal number in YAML",
        ),
        (
            "[0.9]",
            "[0.9]\n  deadline_s: 1:30",
            "routing.deadline_s (line 13): 1:30 is a number to the base 60 in YAML",
        ),
        (
            "[0.9]",
            "[0.9]\n  max_attempts: 1",
            "routing.max_attempts is 1, allowed: 2 or more, one for each tier",
        ),
        (
            "demo/models/large",
            "demo/models/lage",
            "demo/models/lage' does not exist",
        ),
        (
            "model_path: demo/models/large",
            "model_path: demo/models",
            "tier large: demo/models holds no model: config.json is missing",
        ),
        (
            "demo/models/small/calibration.json",
            "demo/models/middle/calibration.json",
            "calibration demo/models/middle/calibration.json was fitted behind 1 tiers, but this "
            "tier is behind 0; fit the calibration again",
        ),
        ("demo/models/small/calibration.json", "README.md", "calibration README.md: "),
        (
            "name: large",
            "name: large\n    draft_calibration: README.md",
            "calibration README.md: ",
        ),
        (
            "name: large",
            "name: large\n    sampling: {temperature: warm}",
            "tier large: sampling: temperature",
        ),
        (
            "routing:",
            "planner: {sleep: true}\nrouting:",
            "planner.sleep is true, allowed on CUDA devices alone; this host has cpu",
        ),
        (
            "routing:",
            "planner: {emulate: no.json, gpu_budget: 2}\nrouting:",
            "no.json: No such file or directory",
        ),
        (
            "routing:",
            "planner: {enabled: true, profile: README.md, gpu_budget: 2}\nrouting:",
            "profile README.md: ",
        ),
        (
            "{max_total_tokens: 65536}\nrouting",
            "{completion_template: deepseek_coder}\nrouting",
            "tiers[1].server_args.completion_template is 'deepseek_coder', but None in tier small",
        ),
    ],
)
def test_what_a_start_would_refuse_is_refused_in_one_line_with_its_place(
    changed: Any, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str
) -> None:
    path = changed(old, new)
    code, output = validate(path, capsys)
    assert code == 2
    assert message in output
    assert output.startswith(f"cascadia validate: cascade file {path}: ")
    assert output.count("\n") == 1


def test_a_key_given_twice_in_json_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cascade.json"
    path.write_text('{"version": 1,\n "tiers": [],\n "version": 1}')
    code, output = validate(path, capsys)
    assert code == 2
    assert output.endswith("version is given twice (line 3, first on line 1)\n")


def test_it_ends_with_a_table_of_the_tiers_on_this_host(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "free_host_bytes", lambda: 8_000_000_000)
    monkeypatch.setattr(host, "has_bf16_instructions", lambda: True)
    monkeypatch.chdir(ROOT)
    code, output = validate(CASCADE, capsys)
    assert code == 0
    valid, host_line, heading, small, large = output.splitlines()
    assert valid == f"{CASCADE} is valid: small, large"
    assert host_line == "this host, 8.0 GB free"
    assert heading.split() == [
        *("tier", "model", "parameters", "weights", "KV", "cache", "KV", "tokens", "devices"),
        *("calibration", "speculation"),
    ]
    cells = [part for part in small.split("  ") if part]
    assert [cell.strip() for cell in cells] == [
        *("small", "demo/models/small", "312.06 K", "0.001 GB", "0.034 GB", "65,536"),
        *("0.061 of the host", "file", "-"),
    ]
    assert large.split()[:4] == ["large", "demo/models/large", "3.56", "M"]
    # A key-value pool of so many tokens was asked for.
    assert "65,536" in large


def test_speculation_and_accelerators_stand_in_the_table(
    changed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = changed(
        "large\n    server_args: {", "large\n    server_args: {speculative_algorithm: NGRAM, "
    )
    code, output = validate(path, capsys, "--gpus", "1", "--gpu", "L4")
    assert code == 0
    assert "1 x L4, 24.0 GB free on each" in output
    *_, small, large = output.splitlines()
    assert "0 (0." in small
    assert " of each)" in small
    assert large.endswith("NGRAM")


def test_a_model_that_does_not_fit_this_host_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "free_host_bytes", lambda: 300_000_000)
    monkeypatch.chdir(ROOT)
    code, output = validate(CASCADE, capsys)
    assert code == 2
    assert "tier small lacks " in output
    assert output.endswith("of the 0.3 GB that this host has free\n")


def test_tiers_of_several_voices_are_listed_by_voice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = write_model(tmp_path / "small")
    large = write_model(tmp_path / "large", generation={"temperature": 0.5}, hidden=32)
    path = tmp_path / "cascade.yaml"
    calibration = ROOT / "demo" / "models" / "small" / "calibration.json"
    path.write_text(
        "version: 1\ntiers:\n"
        f"  - {{name: small, model_path: {small}, calibration: {calibration}}}\n"
        f"  - {{name: large, model_path: {large}}}\n"
        "routing: {thresholds: [0.5]}\n"
    )
    assert main(["validate", str(path)]) == 0
    printed = capsys.readouterr().out
    assert f"{path} is valid: small, large\n" in printed
    assert printed.endswith(
        "voice small: tiers small\n"
        "voice large: tiers large, unlike small: other defaults in generation_config.json "
        "(temperature is absent and 0.5)\n"
    )
    (tmp_path / "large" / "chat_template.jinja").unlink()
    code, output = validate(path, capsys)
    assert code == 2
    assert f"cascade file {path}: tier large has no chat template; give it one" in output


def run(*words: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run a command in a process of its own; its end, and the seconds that it took."""
    script = (
        "import sys; from cascadia_sglang.cli import main; "
        f"code = main({list(words)!r}); "
        "sys.exit(3 if 'sglang' in sys.modules or 'torch' in sys.modules else code)"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        timeout=120,
        check=False,
        capture_output=True,
        text=True,
    )
    return done, time.monotonic() - started


def test_nothing_of_sglang_is_imported() -> None:
    done, _ = run("validate", str(CASCADE))
    assert done.returncode == 0


def test_what_the_file_says_is_told_without_the_imports_that_take_a_second(changed: Any) -> None:
    path = changed("thresholds", "treshholds")
    script = (
        "import sys; from cascadia_sglang.cli import main; "
        f"assert main(['validate', {str(path)!r}]) == 2; "
        "print([n for n in ('numba', 'tokenizers', 'transformers', 'scipy') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, timeout=120, capture_output=True, text=True
    )
    assert done.stdout == "[]\n", done.stderr
