"""The process that engine workers and the detokenizer are forked from, preloaded with SGLang.

Importing this module *in the fork server* prepares that process, so it stands first in the
preload list. A worker forked from it skips SGLang's imports (about ten seconds).
"""

import logging
import multiprocessing
import os
import signal
from multiprocessing import forkserver

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
