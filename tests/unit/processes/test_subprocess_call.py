"""A process that is asked, and what becomes of it where it cannot answer."""

import asyncio
import sys
from typing import Any

import pytest
import uvloop

from cascadia_sglang.processes.subprocess_call import ProcessFailedError, ask_process


def test_a_process_that_ends_before_it_is_asked_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's event loop refuses to write to it then."""
    start = asyncio.create_subprocess_exec

    async def killed(*command: str, **how: Any) -> asyncio.subprocess.Process:
        process = await start(*command, **how)
        process.kill()
        await process.wait()
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", killed)
    with pytest.raises(ProcessFailedError, match="ended"):
        uvloop.run(ask_process((sys.executable, "-c", "input()"), b"x" * 2**20, 20.0))
