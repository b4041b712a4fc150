"""The process that engine workers and the detokenizer are forked from, preloaded with SGLang.

Importing this module *in the fork server* prepares that process, so it stands first in the
preload list. A worker forked from it skips SGLang's imports (about ten seconds).
"""

import asyncio
import logging
import multiprocessing
import os
import signal
from multiprocessing import forkserver

from cascadia_sglang.errors import WorkerError
from cascadia_sglang.processes.liveness import is_stopped
from cascadia_sglang.processes.logs import quiet_known_lines
from cascadia_sglang.processes.parent_death import end_with_parent

PRELOAD = (
    "cascadia_sglang.launch.fork_server",
    "sglang.srt.managers.scheduler",
    "sglang.srt.managers.detokenizer_manager",
    # Every model of SGLang, of which a worker wants one: seconds for each worker otherwise.
    "sglang.srt.models.registry",
    "cascadia_sglang.worker.main",
    "cascadia_sglang.judge.observer",
    "cascadia_sglang.launch.fork_server_freeze",
)
logger = logging.getLogger(__name__)

_ROLE_VARIABLE = "CASCADIA_FORK_SERVER_PARENT"
_EVERY_LINE_VARIABLE = "CASCADIA_EVERY_LINE"
_LOOK_S = 0.5
# Each may be killed before it has forked anything.
_ATTEMPTS = 5


def threads_per_worker(worker_count: int) -> int:
    """A worker's share of this host's cores, one core being left to the server process.

    OMP_NUM_THREADS decides instead, where it is set; too large a value is warned of.
    """
    cores = len(os.sched_getaffinity(0))
    if "OMP_NUM_THREADS" not in os.environ:
        return max(1, (cores - 1) // worker_count)
    threads = max(1, int(os.environ["OMP_NUM_THREADS"].split(",")[0]))
    if threads > 1 and threads * worker_count > cores:
        logger.warning(
            "OMP_NUM_THREADS=%d gives %d workers %d threads on %d cores, where they wait for each "
            "other; unset it, or set it to at most %d",
            threads,
            worker_count,
            threads * worker_count,
            cores,
            max(1, cores // worker_count),
        )
    return threads


def start_fork_server(threads: int, *, shows_every_line: bool = False) -> None:
    """Start the fork server, which imports in the background. Call it from the main thread.

    The parent-death signal is bound to the thread that starts the fork server.

    Args:
        threads: of each worker's tensor operations. The libraries read it when they are loaded;
            threads beyond a worker's share would spin on its neighbours' cores.
        shows_every_line: whether SGLang's warnings that concern no cascade are shown too.
    """
    if shows_every_line:
        os.environ[_EVERY_LINE_VARIABLE] = "1"
    multiprocessing.set_start_method("forkserver", force=True)
    multiprocessing.set_forkserver_preload(list(PRELOAD))
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    # Importing SGLang asks for CUDA; the driver's own count does not initialise it, which would
    # poison every fork.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    ensure_fork_server()


def ensure_fork_server() -> None:
    """Start the fork server unless it runs, prepared as `_prepare_this_process` says.

    Python starts a lost one by itself, but unprepared. Call this from the main thread before a
    process is forked from it.
    """
    os.environ[_ROLE_VARIABLE] = str(os.getpid())
    forkserver.ensure_running()
    del os.environ[_ROLE_VARIABLE]
    _continue_stopped()


async def await_fork_server() -> None:
    """Wait until the fork server forks, and start or continue it where it does not.

    Python's start of a process blocks until then, seconds after the loss of a fork server, which
    has to import first, and for good while it is stopped (SIGSTOP). Call this on the event loop,
    in the main thread, before a process is forked from it. Without a fork server it does nothing.

    Raises:
        WorkerError: if it ends again and again.
    """
    if multiprocessing.get_start_method() != "forkserver":
        return
    for _ in range(_ATTEMPTS):
        ensure_fork_server()
        forking = asyncio.ensure_future(asyncio.to_thread(_fork_once))
        while not (await asyncio.wait([forking], timeout=_LOOK_S))[0]:
            _continue_stopped()
        error = forking.exception()
        if error is None:
            return
        if not isinstance(error, EOFError | OSError):
            raise error
        logger.warning("the fork server has ended before it forked: %r", error)
    raise WorkerError(f"the fork server ended {_ATTEMPTS} times before it forked")


def _fork_once() -> None:
    process = multiprocessing.Process(target=_nothing)
    process.start()
    process.join()


def _nothing() -> None:
    """What a process does that only shows that one can be forked."""


def _continue_stopped() -> None:
    """Continue the fork server if it was stopped: nobody could start anything."""
    # Python tells its process id nowhere else.
    pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    if pid is not None and is_stopped(pid):
        logger.warning("the fork server was stopped; it is continued")
        os.kill(pid, signal.SIGCONT)


def _prepare_this_process() -> None:
    """Die with the main process; leave Ctrl-C and failing workers to its supervisor."""
    parent = int(os.environ.pop(_ROLE_VARIABLE))
    end_with_parent()
    if os.getppid() != parent:
        # It died before the signal was set.
        os._exit(1)
    os.setsid()
    # A scheduler that fails sends SIGQUIT to its parent, which is this process.
    signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    if _EVERY_LINE_VARIABLE not in os.environ:
        quiet_known_lines()


if _ROLE_VARIABLE in os.environ and os.environ[_ROLE_VARIABLE] == str(os.getppid()):
    _prepare_this_process()
