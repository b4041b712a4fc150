"""Which sets the bench of the probe measures."""

from pathlib import Path

import pytest

from bench.real import hidden
from bench.real.probe import sets_with_states
from bench.real.question_sets import question_set

ASKED = [*question_set("short", 3), *question_set("reasoning", 2), *question_set("free", 2)]


def test_a_set_without_hidden_states_is_named_and_costs_no_other_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hidden, "CACHE", tmp_path)
    path = hidden.hidden_file("model", "short")
    path.parent.mkdir()
    path.touch()
    assert sets_with_states("model", ASKED) == {"short": ASKED[:3]}
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("model, reasoning: no rows")


def test_a_set_that_nobody_asked_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hidden, "CACHE", tmp_path)
    assert sets_with_states("model", question_set("free", 2)) == {}
    assert capsys.readouterr().err == ""
