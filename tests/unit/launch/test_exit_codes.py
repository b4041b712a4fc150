"""Whose doing the end of a worker is."""

import signal

import pytest

from cascadia_sglang.launch.exit_codes import end_of
from cascadia_sglang.pool.worker_ends import WorkerEnd


@pytest.mark.parametrize(
    "exit_code",
    [0, 1, -signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGFPE],
    ids=["exception-in-scheduler", "exception", "abort", "segfault", "bus", "float"],
)
def test_an_end_by_an_error_is_the_workers_own(exit_code: int) -> None:
    assert end_of([exit_code]) is WorkerEnd.OWN_ERROR
    assert end_of([None, exit_code]) is WorkerEnd.OWN_ERROR


@pytest.mark.parametrize(
    "exit_code",
    [-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, 255],
    ids=["kill", "term", "interrupt", "fork-server-lost"],
)
def test_an_end_by_a_signal_to_end_is_from_outside(exit_code: int) -> None:
    assert end_of([exit_code]) is WorkerEnd.OUTSIDE


def test_ranks_that_fail_because_another_was_killed_prove_nothing() -> None:
    assert end_of([0, -signal.SIGKILL]) is WorkerEnd.OUTSIDE


def test_a_worker_of_which_no_rank_has_ended_did_nothing() -> None:
    assert end_of([None]) is WorkerEnd.OUTSIDE
