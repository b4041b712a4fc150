"""The device observer's kernels are compiled when it is built."""

import logging

import pytest

from cascadia_sglang.judge import observer
from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.judge.observer import DeviceObserver, build_observer


def test_kernels_are_compiled_for_the_runners_device_and_vocabulary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[str, int]] = []
    monkeypatch.setattr(observer, "warm_up", lambda *arguments: calls.append(arguments))
    assert isinstance(build_observer(Judge({}), "cuda", 151936), DeviceObserver)
    build_observer(Judge({}), "cpu", 151936)
    assert calls == [("cuda", 151936)]


def test_kernels_that_do_not_compile_are_said_and_fail_no_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(device: str, columns: int) -> None:
        raise RuntimeError(f"no compiler for {device}, V = {columns}")

    monkeypatch.setattr(observer, "warm_up", fail)
    assert isinstance(build_observer(Judge({}), "cuda", 40), DeviceObserver)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
