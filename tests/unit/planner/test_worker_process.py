"""Worker processes: results in order, errors as they were raised, no hang and no orphan."""

import math
import os
import time

import pytest

from cascadia_sglang.errors import PlanError, PlanTimeoutError, WorkloadError
from cascadia_sglang.planner.worker_process import WorkerProcesses
from cascadia_sglang.planner.workload.traces import load_trace


def test_results_come_in_order_and_errors_as_they_were_raised(tmp_path):
    with WorkerProcesses(2) as workers:
        assert workers.run(math.sqrt, [4, 9, 16, 25, 36]) == [2, 3, 4, 5, 6]
        processes = workers.run(abs, [-1]) and workers._processes
        with pytest.raises(WorkloadError, match="nowhere"):
            workers.run(load_trace, [tmp_path / "nowhere"])
        assert workers.run(abs, [-7]) == [7]
        done = []
        workers.run(abs, [-1, -2, -3], done.append)
        assert sorted(done)[-1] == len(done) == 3
    assert all(process.poll() is not None for process in processes)


def test_a_process_that_ends_is_an_error():
    with WorkerProcesses(1) as workers, pytest.raises(PlanError, match="ended before its work"):
        workers.run(os._exit, [1, 1])


def test_a_job_without_end_is_stopped_at_the_limit():
    with (
        WorkerProcesses(1, limit_s=0.5) as workers,
        pytest.raises(PlanTimeoutError, match=r"0\.5 s"),
    ):
        workers.run(time.sleep, [60])
