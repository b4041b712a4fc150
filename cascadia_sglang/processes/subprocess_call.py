"""Asks a process of its own for something that takes long, so that the server serves on."""

import asyncio
import contextlib
import os


class ProcessFailedError(Exception):
    """The process did not start, or ended with another code than 0; one line."""


async def ask_process(command: tuple[str, ...], request: bytes, deadline_s: float) -> bytes:
    """What a process writes to stdout, given a request on stdin; it is ended at the deadline.

    The process has one thread for tensor operations, and a session of its own, so that a signal to
    the server's terminal does not reach it.

    Raises:
        TimeoutError: at the deadline.
        ProcessFailedError: if it did not start or failed; with the last line of its stderr.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
    except OSError as error:
        raise ProcessFailedError(f"did not start: {error}") from error
    try:
        async with asyncio.timeout(deadline_s):
            answer, complaint = await process.communicate(request)
    except RuntimeError as error:
        # The server's event loop writes to no process that has ended.
        raise ProcessFailedError(f"ended before it was asked: {error}") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        last = complaint.decode(errors="replace").strip().rpartition("\n")[2][:200]
        raise ProcessFailedError(f"ended with {process.returncode}: {last}")
    return answer
