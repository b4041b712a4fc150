"""`python -m bench run`: which commands it makes, and when it stops."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from bench.__main__ import chosen, commands, main, parsed, run
from bench.benches import BENCHES


def selected_commands(*arguments: str) -> list[str]:
    """Commands of `bench run`, as lines."""
    options = parsed(["run", *arguments])
    return [" ".join(words) for words in commands(chosen(options), options)]


def test_all_is_every_bench_that_the_machine_of_the_demo_can_run() -> None:
    modules = {line.split()[0] for line in selected_commands("--all")}
    assert {"bench.router.overhead", "bench.rivals.compare", "bench.planner.sample"} <= modules
    left_out = {"bench.router.fuzz", "bench.real.share", "bench.kernel.run", "bench.prefix.replay"}
    assert not left_out & modules


def test_smoke_is_the_brief_form_of_each() -> None:
    lines = selected_commands("--smoke")
    assert len(lines) == sum(len(bench.smoke) for bench in BENCHES)
    assert "bench.real.rank --smoke" in lines
    assert [line for line in lines if "--smoke" not in line] == []


def test_options_go_to_the_benches_that_take_them() -> None:
    lines = selected_commands("rivals.compare", "rivals.parts", "--litellm", "bin/litellm")
    assert lines == ["bench.rivals.compare --litellm bin/litellm", "bench.rivals.parts"]


def test_what_follows_two_dashes_goes_to_the_bench() -> None:
    assert selected_commands("router.fuzz", "--", "--seed", "2") == [
        "bench.router.fuzz --bodies 20000 --seed 2"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "name a bench"),
        (["run", "nothing"], "no bench is called nothing"),
        (["run", "serving.picture", "--smoke"], "serving.picture has no smoke form"),
        (["run", "real.share", "--small", "x"], "real.share needs --large"),
        (["list", "nothing"], "no bench is called nothing"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    assert main() == 2
    assert message in capsys.readouterr().err


def test_a_run_stops_at_the_first_command_that_fails(capfd: pytest.CaptureFixture) -> None:
    fails = ["bench", "list", "nothing"]
    assert run([["bench", "list", "real.rank"], fails, ["bench", "list"]]) == 2
    out = capfd.readouterr().out
    assert "real.rank: How well" in out
    assert "exit code 2" in out
    assert out.count("$ python -m") == 2


def test_sigterm_goes_on_to_the_command_and_ends_the_run(capfd: pytest.CaptureFixture) -> None:
    def end() -> None:
        deadline = time.monotonic() + 60
        while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    ender = threading.Thread(target=end)
    ender.start()
    assert run([["http.server", "0", "--bind", "127.0.0.1"], ["bench", "list"]]) == 143
    ender.join()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert capfd.readouterr().out.count("$ python -m") == 1


def test_a_list_tells_the_commands_of_a_bench(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "list", "prefix.replay"])
    assert main() == 0
    assert "python -m bench.prefix.replay --trace PATH" in capsys.readouterr().out
