"""What a local worker says of its processes."""

import signal
import time
from types import SimpleNamespace
from typing import Any

import pytest

from cascadia_sglang.launch import scheduler_group as module
from cascadia_sglang.launch.scheduler_group import SchedulerGroup
from cascadia_sglang.pool.worker_ends import WorkerEnd


class Process:
    """A rank; `exitcode` is None while it runs."""

    def __init__(self, pid: int, exitcode: int | None = None) -> None:
        self.pid, self.exitcode = pid, exitcode

    def is_alive(self) -> bool:
        return self.exitcode is None

    def kill(self) -> None:
        self.exitcode = -signal.SIGKILL

    def join(self, timeout: float) -> None:
        del timeout


def make_group(*processes: Process, silent: tuple[int, ...] = ()) -> SchedulerGroup:
    fields: dict[str, Any] = dict.fromkeys(
        ("pool", "input_address", "replica", "limits", "started", "reader", "remove_files")
    )
    pulse: Any = SimpleNamespace(find_stalled=lambda pids: [pid for pid in pids if pid in silent])
    result: Any = SimpleNamespace(scheduler_infos=[{"max_total_num_tokens": 9}])
    fields |= {"processes": processes, "pulse": pulse, "result": result}
    return SchedulerGroup(**fields)


def test_it_lives_while_every_rank_does_and_ends_by_whatever_ended_the_first() -> None:
    ranks = Process(1), Process(2)
    group = make_group(*ranks)
    assert group.is_alive()
    assert group.scheduler_infos == [{"max_total_num_tokens": 9}]
    ranks[1].exitcode = 0
    assert not group.is_alive()
    assert group.end() is WorkerEnd.OWN_ERROR
    assert not group.join(time.monotonic())
    group.kill()
    assert group.join(time.monotonic())
    # That of the rank that was left is from outside.
    assert group.end() is WorkerEnd.OUTSIDE


@pytest.mark.parametrize(
    ("silent", "stopped", "end"),
    [
        ((), (), None),
        ((2,), (), WorkerEnd.OWN_ERROR),
        ((1, 2), (2,), WorkerEnd.OUTSIDE),
        ((), (2,), None),
    ],
    ids=["beats", "hangs", "one-was-stopped", "stopped-just-now"],
)
def test_a_stall_is_its_own_unless_someone_stopped_a_rank(
    silent: tuple[int, ...],
    stopped: tuple[int, ...],
    end: WorkerEnd | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "is_stopped", lambda pid: pid in stopped)
    assert make_group(Process(1), Process(2), silent=silent).stall() is end
