"""What the exit codes of a worker's processes say of its end."""

import signal
from collections.abc import Sequence

from cascadia_sglang.pool.worker_ends import WorkerEnd

# What someone sends to end a process. The kernel sends SIGKILL where memory runs out.
_FROM_OUTSIDE = {
    -signal.SIGKILL,
    -signal.SIGTERM,
    -signal.SIGINT,
    -signal.SIGHUP,
}
# What Python says of a child whose fork server was lost: nobody knows how it ended.
_UNKNOWN = 255


def end_of(exit_codes: Sequence[int | None]) -> WorkerEnd:
    """Whose doing the end of a worker is, by the exit codes of its ranks.

    A scheduler that meets an exception logs it and returns, so that its exit code is 0; a
    worker that was asked to end is not judged here. Where one rank was killed from outside, its
    mates fail for want of it.

    Args:
        exit_codes: as `multiprocessing` has them, negative for a signal; None for a running rank.
    """
    ended = [code for code in exit_codes if code is not None]
    if not ended or any(code in _FROM_OUTSIDE or code == _UNKNOWN for code in ended):
        return WorkerEnd.OUTSIDE
    return WorkerEnd.OWN_ERROR
