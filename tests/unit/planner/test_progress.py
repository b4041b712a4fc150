"""The time of a plan: its limit, reports, and jobs in threads."""

import threading

import pytest

from cascadia_sglang.planner import progress
from cascadia_sglang.planner.progress import JobRunner, PlanProgress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that a test sets."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_limit_counts_down_to_nothing(clock):
    work = PlanProgress(3.0)
    clock[0] += 2.0
    assert work.left_s == pytest.approx(1.0)
    assert not work.is_over
    clock[0] += 2.0
    assert work.left_s == 0.0
    assert work.is_over
    assert not PlanProgress().is_over


def test_a_report_comes_once_a_second_with_the_phase_and_what_is_left(clock):
    lines = []
    work = PlanProgress(60.0, lines.append)
    work.begin("surfaces", 8)
    work.advance()
    assert lines == []
    clock[0] += 2.0
    work.advance()
    work.advance()
    assert lines == ["surfaces: 2 of 8, about 6.0 s left of this phase"]
    clock[0] += 57.0
    work.advance()
    assert lines[1] == "surfaces: 4 of 8, about 1.0 s left of this phase"


@pytest.mark.parametrize("threads", [0, 2, 3])
def test_results_come_in_order_from_any_number_of_threads(threads):
    thread_ids = set()

    def square(number):
        thread_ids.add(threading.get_ident())
        return number * number

    assert JobRunner(threads).run(square, list(range(20))) == [n * n for n in range(20)]
    assert len(thread_ids) <= max(1, threads)


@pytest.mark.parametrize("threads", [0, 2])
def test_what_had_not_begun_in_time_has_no_result(threads):
    work = PlanProgress()
    done = []

    def job(number):
        done.append(number)
        if len(done) >= 3:
            work._limit_s = 0.0
        return number

    results = JobRunner(threads, work).run(job, list(range(50)))
    assert [result for result in results if result is not None] == sorted(done)
    assert 3 <= len(done) <= 4
    assert results[-1] is None


def test_an_error_of_a_job_reaches_the_caller():
    with pytest.raises(ZeroDivisionError):
        JobRunner(2).run(lambda number: 1 // number, [1, 0, 2])
