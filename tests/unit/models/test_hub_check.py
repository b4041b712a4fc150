"""Hub names that cannot be had: one line in time, in every command that takes a cascade."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cascadia_sglang.cli import main
from cascadia_sglang.config.settings import CascadeConfig, TierConfig
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.models import hub_check
from cascadia_sglang.models.hub_check import check_hub_names
from tests.repo.source import ROOT
from tests.unit.commands.recorded import write_sample

NOWHERE = "Qwen/no-such-model"


@pytest.fixture
def cascade(tmp_path: Path) -> Path:
    path = tmp_path / "cascade.json"
    tiers = [{"name": "only", "model_path": NOWHERE}]
    path.write_text(json.dumps({"version": 1, "tiers": tiers}))
    return path


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def run(words: list[str], tmp_path: Path, **environment: str) -> tuple[float, str]:
    """Seconds and the stderr of a command that must be refused."""
    code = "import sys; from cascadia_sglang.cli import main; sys.exit(main())"
    inherited = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        env={**inherited, "HF_HUB_CACHE": str(tmp_path / "hub"), **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    seconds = time.monotonic() - started
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ""
    return seconds, ended.stderr


@pytest.mark.parametrize("command", ["calibrate", "profile", "estimate", "validate", "advise"])
def test_every_command_tells_it_in_one_line_within_ten_seconds(
    command: str, cascade: Path, tmp_path: Path, silent: str
) -> None:
    """The slowest of all is a hub that takes the question and never answers."""
    out = str(tmp_path / "out")
    words = {
        "calibrate": ["calibrate", str(cascade), "--data", "", "--out", out],
        "profile": ["profile", str(cascade), "--out", out],
        "estimate": ["profile", str(cascade), "--out", out, "--gpu", "H100"],
        "validate": ["validate", str(cascade)],
        "advise": ["advise", str(cascade), "--data", "", "--gpus", "1", "--rate", "1"],
    }[command]
    data = str(write_sample(tmp_path, 600))
    words = [data if word == "" else word for word in words]
    if command == "advise":
        words += ["--out", out]
    endpoint = silent if command == "calibrate" else "http://127.0.0.1:1"
    seconds, output = run(words, tmp_path, HF_ENDPOINT=endpoint)
    assert seconds < 10
    # What is known of the sample comes before it.
    (line,) = [line for line in output.splitlines() if NOWHERE in line]
    assert line == output.splitlines()[-1]
    assert f"{NOWHERE} is no folder and not in the hub's cache, and it cannot be fetched" in line
    assert "does not answer" in line
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        ({"HF_ENDPOINT": "http://127.0.0.1:1"}, "http://127.0.0.1:1 does not answer: "),
        ({"HF_ENDPOINT": "http://nowhere.invalid"}, "http://nowhere.invalid does not answer: "),
    ],
)
def test_the_reason_is_told(
    environment: dict[str, str], message: str, cascade: Path, tmp_path: Path
) -> None:
    seconds, output = run(["validate", str(cascade)], tmp_path, **environment)
    assert message in output
    assert f"tier only: {NOWHERE}" in output
    assert output.count("\n") == 1
    assert seconds < 10


def test_a_model_in_the_cache_or_a_folder_asks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "hub" / "models--Qwen--cached" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    refs = tmp_path / "hub" / "models--Qwen--cached" / "refs"
    refs.mkdir()
    (refs / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub_check, "_refusal", lambda name: f"{name} was asked for")
    check_hub_names({"a": "Qwen/cached", "b": str(tmp_path), "c": "no hub name"})
    with pytest.raises(ConfigError, match="Qwen/other was asked for"):
        check_hub_names({"a": "Qwen/cached", "b": "Qwen/other"})


def test_a_name_that_resolves_for_ever_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_check, "_DEADLINE_S", 0.2)
    monkeypatch.setattr(hub_check, "_refusal", lambda _: time.sleep(20))
    started = time.monotonic()
    with pytest.raises(ConfigError, match=r"tier a: Qwen/x is .*the hub does not answer within"):
        check_hub_names({"tier a": "Qwen/x", "tier b": "Qwen/y"})
    assert time.monotonic() - started < 5


def test_the_model_that_drafts_is_looked_for_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_check, "_refusal", lambda name: None if name == "Q/a" else "gone")
    tier = TierConfig(
        name="only",
        model_path="Q/a",
        server_args={"speculative_algorithm": "EAGLE", "speculative_draft_model_path": "Q/b"},
    )
    with pytest.raises(ConfigError, match="tier only, speculative_draft_model_path: Q/b is"):
        check_hub_names(CascadeConfig(version=1, tiers=[tier]).models())


def test_another_machine_may_have_other_models(
    cascade: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_check, "_refusal", lambda name: f"{name} was asked for")
    assert main(["validate", str(cascade), "--gpus", "1"]) == 0
    assert main(["validate", str(cascade)]) == 2
    assert "was asked for" in capsys.readouterr().err
