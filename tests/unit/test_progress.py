"""How far a run is, in a file and on a terminal."""

import io
import time

import pytest

from cascadia_sglang.progress import Progress, StageProgress, duration, elapsed


class Terminal(io.StringIO):
    """What a terminal was sent."""

    def isatty(self) -> bool:
        return True


def test_a_file_gets_a_line_every_few_seconds_with_the_time_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [0.0]
    tell = Progress("small", 120, clock=lambda: now[0])
    for done in range(1, 121):
        now[0] = done * 0.5
        tell(done)
    tell(120, last=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "small: 10 of 120 answers, 2.0/s, 55 s left"
    assert lines[1] == "small: 20 of 120 answers, 2.0/s, 50 s left"
    assert lines[-1] == "small: 120 of 120 answers, 2.0/s"
    assert len(lines) == 13


def test_a_terminal_gets_a_bar_with_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    tell = Progress("small", 4)
    tell(1)
    tell.say("left out: question 'bad'")
    tell(3, last=True)
    shown = terminal.getvalue()
    assert "small:   0%|" in shown
    assert "left out: question 'bad'\n" in shown
    assert "3/4 [00:0" in shown.split("\r")[-1]


def test_nothing_to_ask_draws_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    Progress("drafts", 0)(0, last=True)
    assert terminal.getvalue() == "drafts: 0 of 0 answers, 0.0/s\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_a_duration_is_read_at_a_glance(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_stages_count_apart(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cascadia_sglang.progress._LINE_S", 0.0)
    with StageProgress("simulations") as tell:
        for name, count in (("shapes", 2), ("trials", 3)):
            for done in range(1, count + 1):
                tell(name, done, count)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" simulations")[0] for line in lines] == [
        "shapes: 1 of 2",
        "shapes: 2 of 2",
        "trials: 1 of 3",
        "trials: 2 of 3",
        "trials: 3 of 3",
    ]


def test_a_stage_on_a_terminal_has_a_bar_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with StageProgress("simulations") as tell:
        tell("shapes", 2, 2)
        tell("trials", 1, 4)
    assert "shapes: 100%" in terminal.getvalue()
    assert "1/4" in terminal.getvalue()


def test_work_of_unknown_length_says_how_long_it_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cascadia_sglang.progress._LINE_S", 0.02)
    monkeypatch.setattr("cascadia_sglang.progress._LOOK_S", 0.01)
    with elapsed("simulating"):
        time.sleep(0.2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2
    assert set(lines) == {"simulating: 0 s so far"}


def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with elapsed("simulating"):
        pass
    assert capsys.readouterr().err == ""
