"""Step times between and beyond what was measured, and files that do not fit."""

import json
from pathlib import Path

import pytest

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.planner.speed.profile import StepTimes, load_profile

TIMES = {"decode_ms": [[1, 10.0], [9, 18.0]], "prefill_ms": [[100, 20.0], [200, 40.0]]}


@pytest.mark.parametrize(
    ("rows", "ms"), [(1, 10.0), (5, 14.0), (9, 18.0), (18, 36.0)], ids=lambda value: str(value)
)
def test_decode_time_is_linear_between_and_in_proportion_beyond(rows, ms):
    times = StepTimes(decode_ms=[(1, 10.0), (9, 18.0)], prefill_ms=[(1, 1.0)])
    assert times.decode_s(rows) == pytest.approx(ms / 1000)


def test_short_prefill_takes_as_long_as_the_shortest_measured():
    times = StepTimes(decode_ms=[(1, 1.0)], prefill_ms=[(100, 20.0), (200, 40.0)])
    assert times.prefill_s(7) == pytest.approx(0.020)
    assert times.prefill_s(150) == pytest.approx(0.030)


def test_a_step_of_several_tokens_counts_as_so_many_shorter_ones():
    times = StepTimes(
        decode_ms=[(8, 10.0), (64, 18.0)],
        prefill_ms=[(1, 1.0)],
        draft_rows=8,
        tokens_per_step=2.5,
    )
    assert times.token_ms == [(1.0, 4.0), (8.0, 7.2)]
    assert times.decode_s(8) == pytest.approx(0.010)


def test_without_speculation_a_step_gives_a_token():
    times = StepTimes(decode_ms=[(1, 10.0), (9, 18.0)], prefill_ms=[(1, 1.0)])
    assert times.token_ms == times.decode_ms


@pytest.mark.parametrize("tokens", [0.5, 4.5])
def test_a_step_gives_a_token_at_least_and_no_more_than_it_verifies(tokens):
    with pytest.raises(ValueError, match=r"tokens_per_step is .*, allowed: 1 to draft_rows, 4"):
        StepTimes(decode_ms=[(1, 1.0)], prefill_ms=[(1, 1.0)], draft_rows=4, tokens_per_step=tokens)


def _write(folder: Path, **changes: object) -> Path:
    path = folder / "profile.json"
    data = {"version": 1, "device": "none", "tiers": {"small": TIMES}, **changes}
    path.write_text(json.dumps(data))
    return path


def test_a_file_comes_back_as_it_was_written(tmp_path):
    profile = load_profile(_write(tmp_path))
    assert profile.tiers["small"].decode_ms == [(1, 10.0), (9, 18.0)]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"version": 2}, "version is 2, allowed: 1"),
        ({"speed": 1}, "unknown field `speed`"),
        ({"tiers": {"small": {**TIMES, "decode_ms": []}}}, "decode_ms needs rising sizes"),
        ({"tiers": {"small": {**TIMES, "decode_ms": [[2, 1.0], [1, 2.0]]}}}, "rising sizes"),
        ({"tiers": {"small": {**TIMES, "prefill_ms": [[1, 0.0]]}}}, "finite times above 0"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line_with_its_place(tmp_path, changes, says):
    path = _write(tmp_path, **changes)
    with pytest.raises(ConfigError, match="profile ") as caught:
        load_profile(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.json: No such file"):
        load_profile(tmp_path / "none.json")
