"""How many threads a worker's tensor operations get."""

import logging
import os

import pytest

from cascadia_sglang.launch.fork_server import threads_per_worker


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(("workers", "threads"), [(1, 7), (2, 3), (7, 1), (20, 1)])
def test_the_workers_share_the_cores_but_one(workers: int, threads: int) -> None:
    assert threads_per_worker(workers) == threads


def test_the_operator_decides_and_hears_where_threads_exceed_the_cores(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    with caplog.at_level(logging.WARNING):
        assert threads_per_worker(2) == 4
        assert not caplog.records
        assert threads_per_worker(3) == 4
    assert "OMP_NUM_THREADS=4 gives 3 workers 12 threads on 8 cores" in caplog.text
    assert "at most 2" in caplog.text


def test_one_thread_each_is_never_too_many(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with caplog.at_level(logging.WARNING):
        assert threads_per_worker(20) == 1
    assert not caplog.records
