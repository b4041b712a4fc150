"""What a worker says while it starts."""

import io
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tqdm

from cascadia_sglang.worker import start_progress
from cascadia_sglang.worker.start_progress import StartProgress, without_bars
from tests.repo.source import ROOT


class Clock:
    """Shows what it is set to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def tensor(size_bytes: int) -> Any:
    return SimpleNamespace(numel=lambda: size_bytes // 2, element_size=lambda: 2)


def loaded(
    sizes: list[int], seconds_each: float, total: float | None, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """What is said of a load of tensors of these sizes, each of which takes this long."""
    monkeypatch.setattr(start_progress, "_stored_bytes", lambda _path: total)
    clock, lines = Clock(), list[str]()
    progress = StartProgress(lines.append, clock)
    for _ in progress.counting([("w", tensor(size)) for size in sizes], "model"):
        clock.now_s += seconds_each
    return lines


def test_a_slow_load_says_a_line_at_each_quarter(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = loaded([10**9] * 8, 2.0, 8e9, monkeypatch)
    assert lines == [
        "weights 25% of 8.0 GB, 4 s",
        "weights 50% of 8.0 GB, 8 s",
        "weights 75% of 8.0 GB, 12 s",
        "weights 100% of 8.0 GB, 16 s",
    ]


def test_a_fast_load_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded([10**9] * 8, 0.05, 8e9, monkeypatch) == []


def test_a_fast_load_after_a_slow_beginning_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_progress, "_stored_bytes", lambda _path: 8e9)
    clock, lines = Clock(), list[str]()
    progress = StartProgress(lines.append, clock)
    clock.now_s += 4.0
    list(progress.counting([("w", tensor(10**9))] * 8, "model"))
    assert lines == []


def test_a_load_of_unknown_size_says_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(start_progress, "_stored_bytes", lambda _path: None)
    progress = StartProgress(lines.append, Clock())
    weights = progress.counting([("w", tensor(10**9)), ("v", tensor(10**9))], "model")
    next(weights)
    next(weights)
    progress.tell()
    assert lines == ["weights, 1.0 GB loaded, 0 s"]


def test_a_line_comes_every_few_seconds_until_the_worker_says_that_it_is_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(start_progress, "EVERY_S", 0.05)
    lines, three = list[str](), threading.Event()

    def say(line: str) -> None:
        lines.append(line)
        if len(lines) == 3:
            three.set()

    progress, sent = StartProgress(say), list[Any]()
    pipe = progress.ending_with(SimpleNamespace(send=sent.append))
    progress.begin()
    assert three.wait(10)
    pipe.send({"status": "ready"})
    count = len(lines)
    assert sent == [{"status": "ready"}]
    assert set(lines) == {"starting, 0 s"}
    assert not progress._ended.wait(0.2) or len(lines) <= count + 1


def test_the_size_of_a_model_is_read_from_its_files(tmp_path: Path) -> None:
    stored_bytes = start_progress._stored_bytes(str(ROOT / "demo/models/small"))
    assert stored_bytes == 624_128
    assert start_progress._stored_bytes(str(tmp_path)) is None
    assert start_progress._stored_bytes("nobody/nothing") is None


def test_bars_are_hidden_even_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tqdm.std.tqdm, "__init__", tqdm.std.tqdm.__init__)
    without_bars()
    out = io.StringIO()
    assert list(tqdm.tqdm([1, 2], file=out, disable=False)) == [1, 2]
    assert out.getvalue() == ""
