"""AFTER hook on WatchdogRaw._watchdog_once: a worker that makes no progress ends itself.

Upstream: returns once the process has made no progress for `--watchdog-timeout`, having asked its
parent by SIGQUIT to bring everything down.
We need: this one process ended, for the server to start another. Its parent ignores the signal,
for the other tiers serve on. A soft watchdog only reports.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.utils.watchdog import WatchdogRaw


def _build(_: None) -> Callable[..., None]:
    def end_this_process(_result: None, watchdog: WatchdogRaw) -> None:
        if not watchdog.soft:
            # Not SIGKILL, which also comes from outside: the server is to know that it hung.
            os.kill(os.getpid(), signal.SIGABRT)

    return end_this_process


PATCH = PatchSpec(
    target="sglang.srt.utils.watchdog.WatchdogRaw._watchdog_once",
    hook_type="after",
    kind="function",
    parameters=(),
    build=_build,
    reason="a worker that is stuck must end alone",
    drop_when="SGLang lets a stuck scheduler end itself",
)
