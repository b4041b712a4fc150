"""Signs of life: a process beats on a pipe, the main process notices when it has stopped.

A beat comes from a thread of its own, so a long forward, a load or a full queue does not stop it.
A process counts as stalled when it has neither beaten nor used any CPU time for several looks in
a row. Stopped (SIGSTOP), frozen and dead-locked in the kernel look like that; a busy process does
not. One call may hold the interpreter, and so the beats, up to a limit of its own: no thread of the
process can end it then. Looks are counted, not seconds: while the main process is itself held up,
nobody's time runs.
"""

import contextlib
import multiprocessing
import os
import struct
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

BEAT_S = 0.5
LOOK_S = 1.0
# Looks without a sign of life; at one look a second, the seconds until a hang is seen.
PATIENCE = 5

_PID = struct.Struct("<i")


def start_beats(pipe: Connection, every_s: float = BEAT_S) -> None:
    """Beat from now on, for the life of this process. Call it in the process to be watched."""
    beat = _PID.pack(os.getpid())
    os.set_blocking(pipe.fileno(), False)

    def run() -> None:
        while True:
            # A full pipe is one that nobody has looked at; the beats in it say enough.
            with contextlib.suppress(BlockingIOError):
                os.write(pipe.fileno(), beat)
            time.sleep(every_s)

    threading.Thread(target=run, daemon=True, name="cascadia-heart").start()


class Pulse:
    """The main process's end of one pipe, on which one or several processes beat."""

    def __init__(self, busy_limit_s: float | None = None) -> None:
        """A process that uses CPU time, and does not beat for `busy_limit_s`, is stalled too."""
        self._busy_looks = None if busy_limit_s is None else busy_limit_s / LOOK_S
        self._pipe, self.beats_in = multiprocessing.Pipe(duplex=False)
        os.set_blocking(self._pipe.fileno(), False)
        self._silent: dict[int, int] = {}  # looks without a sign of life, by process id
        self._unbeaten: dict[int, int] = {}  # looks without a beat
        self._cpu_ticks: dict[int, int] = {}

    def hand_over(self) -> None:
        """Close this process's copy of the other end, once the processes have theirs."""
        self.beats_in.close()

    def find_stalled(self, pids: list[int]) -> list[int]:
        """Those of the processes that have given no sign of life for too long."""
        beaten = self._read()
        for pid in pids:
            ticks = _cpu_ticks(pid)
            is_alive = pid in beaten or ticks != self._cpu_ticks.get(pid)
            self._silent[pid] = 0 if is_alive else self._silent.get(pid, 0) + 1
            self._unbeaten[pid] = 0 if pid in beaten else self._unbeaten.get(pid, 0) + 1
            self._cpu_ticks[pid] = ticks
        return [pid for pid in pids if self._is_stalled(pid)]

    def _is_stalled(self, pid: int) -> bool:
        is_held = self._busy_looks is not None and self._unbeaten[pid] >= self._busy_looks
        return is_held or self._silent[pid] >= PATIENCE

    def close(self) -> None:
        self._pipe.close()
        self.beats_in.close()

    def _read(self) -> set[int]:
        try:
            received = os.read(self._pipe.fileno(), 4096)
        except BlockingIOError:
            return set()
        return {pid for (pid,) in _PID.iter_unpack(received[: len(received) // 4 * 4])}


def is_stopped(pid: int) -> bool:
    """Whether a process was stopped by a signal (SIGSTOP) or a debugger."""
    return _stat_fields(pid)[:1] in (["T"], ["t"])


def _cpu_ticks(pid: int) -> int:
    """CPU time that a process has used, all threads together, in clock ticks."""
    fields = _stat_fields(pid)
    # User and system time are the 14th and 15th field.
    return int(fields[11]) + int(fields[12]) if fields else -1


def _stat_fields(pid: int) -> list[str]:
    """The fields of `/proc/PID/stat` from the third on, the state; empty for no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    # The name in brackets may hold anything.
    return stat.rpartition(")")[2].split()
