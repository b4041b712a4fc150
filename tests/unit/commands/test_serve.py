"""`cascadia serve`: the checks of `validate`, then SGLang's server in the same process."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cascadia_sglang.cli import main
from cascadia_sglang.commands.serve import given_flags
from cascadia_sglang.errors import ConfigError
from tests.repo.source import ROOT

CASCADE = str(ROOT / "tests" / "system" / "cascade.yaml")


class ReplacedError(Exception):
    """In place of the process's end."""


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would take this process's place."""
    commands: list[list[str]] = []

    def execv(program: str, words: list[str]) -> None:
        assert program == sys.executable
        commands.append(words)
        raise ReplacedError

    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.chdir(ROOT)
    return commands


def test_a_valid_file_is_launched_with_the_flags_behind_it(
    launched: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ReplacedError):
        main(["serve", CASCADE, "--port", "31000", "--enable-metrics", "--log-level", "debug"])
    assert launched == [
        [
            *(sys.executable, "-m", "sglang.launch_server", "--plugin", "cascadia"),
            *("--cascade-config", CASCADE),
            *("--port", "31000", "--enable-metrics", "--log-level", "debug"),
        ]
    ]
    assert f"{CASCADE} is valid: small, large\n" in capsys.readouterr().out


def test_a_file_that_is_not_valid_is_not_launched(
    launched: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cascade.yaml"
    path.write_text(Path(CASCADE).read_text().replace("thresholds", "tresholds"))
    assert main(["serve", str(path)]) == 2
    assert launched == []
    error = capsys.readouterr().err
    assert error.startswith(f"cascadia serve: cascade file {path}: ")
    assert "did you mean thresholds?" in error


def test_flags_of_the_command_line_count_in_the_check(
    launched: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", CASCADE, "--mem-fraction-static", "lots"]) == 2
    assert "argument --mem-fraction-static: 'lots' is given, allowed: a finite number" in (
        capsys.readouterr().err
    )
    assert launched == []


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        ([], {}),
        (["--tp", "2"], {"tp_size": 2}),
        (["--tensor-parallel-size=2"], {"tp_size": 2}),
        (["--mem-fraction-static", "0.5"], {"mem_fraction_static": 0.5}),
        (["--chat-template", "7"], {"chat_template": "7"}),
        (["--max-total-tokens", "65536"], {"max_total_tokens": 65536}),
        (["--max-total-tokens", "64k", "--tp", "2"], {"tp_size": 2}),
        (["--preferred-sampling-params", '{"top_k": 1}'], {}),
        (["--enable-metrics", "--port", "1"], {"enable_metrics": True, "port": 1}),
        (["--lora-paths", "a=b", "c=d"], {"lora_paths": ["a=b", "c=d"]}),
        (["--no-such-flag", "3", "--tp-size", "4"], {"tp_size": 4}),
    ],
)
def test_flags_are_read_as_sglang_reads_them(words: list[str], flags: dict[str, Any]) -> None:
    assert given_flags(words) == flags


def test_a_choice_that_sglang_does_not_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="--dtype: 'bf16' is given, allowed: one of 'auto', "):
        given_flags(["--dtype", "bf16"])


def test_the_server_is_this_process_and_gets_its_signals(tmp_path: Path) -> None:
    """The launched module is a stand-in that says which process it is and waits for a signal."""
    package = tmp_path / "sglang"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "launch_server.py").write_text(
        "import os, signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "print(os.getpid(), *sys.argv[1:], flush=True)\n"
        "signal.pause()\n"
    )
    script = (
        "import os, sys; from cascadia_sglang import cli; "
        "from cascadia_sglang.commands import serve; "
        "serve.checked = lambda *_: []; serve.given_flags = lambda _: {}; "
        f"os.environ['PYTHONPATH'] = {str(tmp_path)!r}; "
        "sys.exit(cli.main(['serve', 'c.yaml', '--port', '1']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().split()
            assert line[0] == str(process.pid)
            assert line[1:] == ["--plugin", "cascadia", "--cascade-config", "c.yaml", "--port", "1"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 7
        finally:
            process.kill()


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cascadia_sglang", "validate", "no/such/file.yaml"],
        cwd=ROOT,
        timeout=60,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "cascade file no/such/file.yaml: No such file or directory" in done.stderr
