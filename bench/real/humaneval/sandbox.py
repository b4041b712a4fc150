"""Runs a program that a model wrote: a process of its own with limits, and nothing to reach."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile

CPU_S = 5
DEADLINE_S = 15.0
MEMORY_BYTES = 1 << 30

# What a program may not do. A small model does not mean harm; it may open files all the same.
_FORBIDDEN = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn",
              "os.remove", "os.rename", "os.rmdir", "os.kill", "shutil.", "ctypes.")  # fmt: skip
_RUNNER = f"""
import resource, sys
seconds = int(sys.argv[1])
program = sys.stdin.read()
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY_BYTES}, {MEMORY_BYTES}))
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
code = compile(program, "program", "exec")
def refuse(event, arguments):
    if event.startswith({_FORBIDDEN!r}):
        raise PermissionError(event)
    if event == "open" and str(arguments[1] or "r").strip("bt") != "r":
        raise PermissionError("open for writing")
sys.addaudithook(refuse)
exec(code, {{"__name__": "program"}})
"""


def succeeds(program: str, cpu_s: int = CPU_S) -> bool:
    """Whether a program ends by itself, in time and without an exception.

    `sys.exit` is no success, whatever its code: a test after it would not have run.
    """
    ended = "\n__import__('os').write(1, b'reached its end')\n"
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _RUNNER, str(cpu_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={},
            start_new_session=True,
        )
        try:
            output, _ = process.communicate((program + ended).encode(), timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return False
    return process.returncode == 0 and output.endswith(b"reached its end")
