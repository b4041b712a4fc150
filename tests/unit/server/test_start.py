"""What is wrong with a cascade is told before any process is started."""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from sglang.srt.server_args import ServerArgs

import cascadia_sglang.server.start as start
from cascadia_patches.launch import server_args_add_cli_args
from cascadia_sglang.errors import ConfigError
from tests.repo.source import ROOT
from tests.system.serving import free_port

DEMO: dict[str, Any] = yaml.safe_load((ROOT / "tests/system/cascade.yaml").read_text())


def with_tiers(*changes: dict[str, Any]) -> dict[str, Any]:
    """The demo's two tiers, each with these keys changed."""
    tiers = [{**tier, **change} for tier, change in zip(DEMO["tiers"], changes, strict=True)]
    return {**DEMO, "tiers": tiers}


def refusing_template(folder: Path) -> str:
    """The large model with a chat template that takes no conversation."""
    other = folder / "other"
    shutil.copytree(ROOT / "demo/models/large", other)
    (other / "chat_template.jinja").write_text("{{ raise_exception('no') }}")
    return str(other)


@pytest.fixture(scope="module")
def parser() -> argparse.ArgumentParser:
    """SGLang's command line with the cascade's flags."""
    parser = argparse.ArgumentParser(prog="sglang")
    ServerArgs.add_cli_args(parser)
    if "--plugin" not in parser._option_string_actions:
        server_args_add_cli_args.PATCH.build(None)(None, parser)
    return parser


@pytest.mark.parametrize(
    ("cascade", "message"),
    [
        ({**DEMO, "routing": {"treshold": [0.5]}}, "treshold"),
        (with_tiers({}, {"model_path": "/nowhere/large"}), "'/nowhere/large' does not exist"),
        (with_tiers({}, {"server_args": {"tp_siz": 2}}), "did you mean tp_size"),
        (with_tiers({"sampling": {"temperature": -1}}, {}), "tier small: sampling: temperature"),
        (with_tiers({"replicas": 1_000_000}, {}), "tier small lacks"),
        (with_tiers({"calibration": "README.md"}, {}), "README.md"),
        (with_tiers({}, {"model_path": "OTHER"}), "tier large: its chat template takes no plain"),
    ],
)
def test_a_wrong_cascade_is_refused_before_a_process_is_started(
    cascade: dict[str, Any],
    message: str,
    parser: argparse.ArgumentParser,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start_fork_server(*_args: Any, **_options: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(start, "start_fork_server", start_fork_server)
    monkeypatch.setattr(start.START, "begin", lambda _level: None)
    for tier in cascade["tiers"]:
        if tier["model_path"] == "OTHER":
            tier["model_path"] = refusing_template(tmp_path)
    (tmp_path / "cascade.json").write_text(json.dumps(cascade))
    given = ["--plugin", "cascadia", "--cascade-config", str(tmp_path / "cascade.json")]
    logs = ["--cascade-logs", str(tmp_path / "logs")]
    namespace = parser.parse_args([*given, *logs, "--port", str(free_port())])
    with pytest.raises(ConfigError, match=message) as refused:
        start.prepare_server(namespace, ServerArgs.from_cli_args)
    assert "\n" not in str(refused.value)


def test_a_wrong_flag_beside_the_plugin_is_one_line(
    parser: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--plugin", "cascadia", "--tp-siz", "two"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sglang: error: ")
