"""What the step log says of SGLang's own loops, beside what a made-up device really took."""

import json
from types import SimpleNamespace

import pytest

from cascadia_sglang.profiling.steps import read_steps
from cascadia_sglang.worker import step_log
from cascadia_sglang.worker.step_log import StepLog
from tests.unit.profiling.overlap_loop import CHOOSE_S, LAUNCH_S, READ_S, Clock, run_logged

HOST_S = CHOOSE_S + LAUNCH_S + READ_S
MIXED = [
    ("prefill", 0.090),
    *[("decode", 0.008)] * 4,
    ("prefill", 0.014),
    *[("decode", 0.008)] * 3,
]


def _logged(tmp_path, monkeypatch, todo, *, overlap):
    """Kind and seconds of every step, as they were logged."""
    clock = Clock()
    monkeypatch.setattr(step_log, "time", SimpleNamespace(monotonic=clock.monotonic))
    monkeypatch.setattr(step_log, "_device_name", lambda _: "made up", raising=False)
    run_logged(StepLog(tmp_path, "small-0"), clock, todo, overlap=overlap)
    lines = (tmp_path / "small-0.jsonl").read_text().splitlines()[1:]
    rows = [json.loads(line) for line in lines]
    return [("decode" if row["is_decode"] else "prefill", row["step_s"]) for row in rows]


def test_a_step_that_overlaps_the_next_one_has_its_own_time(tmp_path, monkeypatch):
    steps = _logged(tmp_path, monkeypatch, MIXED, overlap=True)
    assert [kind for kind, _ in steps] == [kind for kind, _ in MIXED]
    for (kind, seconds), (_, device_s) in zip(steps, MIXED, strict=True):
        assert device_s <= seconds + 1e-9, kind
        assert seconds <= device_s + HOST_S, kind


def test_no_prefill_shows_in_a_decode(tmp_path, monkeypatch):
    steps = _logged(tmp_path, monkeypatch, MIXED, overlap=True)
    decodes = [seconds for kind, seconds in steps if kind == "decode"]
    assert decodes == pytest.approx([0.008] * 7, abs=1e-6)


def test_a_device_faster_than_its_host_shows_the_host(tmp_path, monkeypatch):
    todo = [("prefill", 0.001), *[("decode", 0.0004)] * 10]
    steps = _logged(tmp_path, monkeypatch, todo, overlap=True)
    assert [seconds for _, seconds in steps[2:-1]] == pytest.approx([HOST_S] * 8, abs=1e-6)
    host_s = read_steps(tmp_path, "small").host_s
    assert host_s[1:-1] == pytest.approx([HOST_S] * 8, abs=1e-6)


def test_the_host_of_a_slow_device_is_what_its_wait_leaves(tmp_path, monkeypatch):
    _logged(tmp_path, monkeypatch, MIXED[:5], overlap=True)
    assert read_steps(tmp_path, "small").host_s[:-1] == pytest.approx([HOST_S] * 3, abs=1e-6)


def test_a_pause_belongs_to_no_step(tmp_path, monkeypatch):
    todo = [("prefill", 0.02), ("decode", 0.008), None, None, ("prefill", 0.02), ("decode", 0.008)]
    steps = _logged(tmp_path, monkeypatch, todo, overlap=True)
    assert [kind for kind, _ in steps] == ["prefill", "decode"] * 2
    for kind, seconds in steps:
        assert seconds < {"prefill": 0.02, "decode": 0.008}[kind] + HOST_S


def test_prefills_in_a_row_hold_the_work_between_them(tmp_path, monkeypatch):
    steps = _logged(tmp_path, monkeypatch, [("prefill", 0.02)] * 3, overlap=True)
    # The next is launched only when the result of the one before has been read.
    between_s = READ_S + LAUNCH_S
    assert [seconds for _, seconds in steps[1:]] == pytest.approx([0.02 + between_s] * 2, abs=1e-6)


def test_a_serial_loop_counts_from_launch_to_launch(tmp_path, monkeypatch):
    steps = _logged(tmp_path, monkeypatch, [*MIXED, None], overlap=False)
    for (_, seconds), (_, device_s) in zip(steps, MIXED, strict=False):
        assert seconds == pytest.approx(device_s + HOST_S, abs=1e-6)
    assert read_steps(tmp_path, "small").host_s == pytest.approx([HOST_S] * 6, abs=1e-6)
