"""Signs of life of real processes."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess

import pytest

from cascadia_sglang.processes.liveness import PATIENCE, Pulse, is_stopped, start_beats

fork = multiprocessing.get_context("fork")


BEAT_S = 0.1
# Twice the patience of looks that are as often as beats.
WATCHED_S = 2 * PATIENCE * BEAT_S


def beat_and_wait(pipe: object) -> None:
    start_beats(pipe, BEAT_S)  # type: ignore[arg-type]
    signal.pause()


def wait_without_a_beat(_: object) -> None:
    signal.pause()


def compute_without_a_beat(_: object) -> None:
    while True:
        sum(range(1000))


@contextmanager
def watched(
    run: Callable[[object], None], busy_limit_s: float | None = None
) -> Iterator[tuple[Pulse, BaseProcess]]:
    pulse = Pulse(busy_limit_s)
    process = fork.Process(target=run, args=(pulse.beats_in,))
    process.start()
    pulse.hand_over()
    try:
        yield pulse, process
    finally:
        process.kill()
        process.join()
        pulse.close()


def look_for(pulse: Pulse, process: BaseProcess, seconds: float) -> list[int]:
    """The last of many looks, spread over this time."""
    stalled: list[int] = []
    for _ in range(2 * PATIENCE):
        time.sleep(seconds / (2 * PATIENCE))
        stalled = pulse.find_stalled([process.pid or 0])
    return stalled


@pytest.mark.parametrize("run", [beat_and_wait, compute_without_a_beat])
def test_a_process_that_beats_or_computes_lives(run: Callable[[object], None]) -> None:
    with watched(run) as (pulse, process):
        assert look_for(pulse, process, WATCHED_S) == []


@pytest.mark.parametrize("run", [beat_and_wait, compute_without_a_beat])
def test_a_process_that_computes_without_a_beat_has_a_limit(run: Callable[[object], None]) -> None:
    with watched(run, busy_limit_s=2 * PATIENCE) as (pulse, process):
        stalled = [] if run is beat_and_wait else [process.pid]
        assert look_for(pulse, process, WATCHED_S) == stalled


def test_only_a_process_that_a_signal_stopped_is_stopped() -> None:
    with watched(beat_and_wait) as (_, process):
        assert process.pid is not None
        assert not is_stopped(process.pid)
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.1)
        assert is_stopped(process.pid)
    assert not is_stopped(process.pid)


def test_a_process_that_does_neither_is_stalled() -> None:
    with watched(wait_without_a_beat) as (pulse, process):
        assert look_for(pulse, process, WATCHED_S) == [process.pid]


def test_a_stopped_process_is_stalled_and_a_continued_one_is_not() -> None:
    with watched(beat_and_wait) as (pulse, process):
        assert process.pid is not None
        assert look_for(pulse, process, WATCHED_S) == []
        os.kill(process.pid, signal.SIGSTOP)
        assert look_for(pulse, process, WATCHED_S) == [process.pid]
        os.kill(process.pid, signal.SIGCONT)
        assert look_for(pulse, process, WATCHED_S) == []


def test_a_process_that_has_ended_gives_no_sign_of_life() -> None:
    with watched(beat_and_wait) as (pulse, process):
        process.kill()
        process.join()
        assert look_for(pulse, process, 0.1) == [process.pid]
