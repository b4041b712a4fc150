"""An SGLang plugin for tests: a marked request ends the scheduler that runs it.

A request is marked by `custom_params: {"crash": {"at": TOKENS, "by": HOW}}` in its sampling
parameters: once it has written so many tokens, its scheduler raises, aborts or hangs.
"""

import os
import time
from pathlib import Path
from typing import Any

from tests.system.serving import ROOT


def plugin_environment(folder: Path) -> dict[str, str]:
    """Environment of a server that loads this plugin, which is laid down in the folder."""
    metadata = folder / "cascadia_test_crash-1.0.dist-info"
    metadata.mkdir(exist_ok=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: cascadia-test-crash\n")
    entry = f"[sglang.srt.plugins]\ncrash = {__name__}:register\n"
    (metadata / "entry_points.txt").write_text(entry)
    paths = [str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def register() -> None:
    """Called by SGLang in each of its processes."""
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    target = "sglang.srt.managers.scheduler.Scheduler.run_batch"
    HookRegistry.register(target, _run_batch, HookType.AROUND)


def _run_batch(original: Any, scheduler: Any, batch: Any, *args: Any, **kwargs: Any) -> Any:
    for request in batch.reqs:
        mark = (request.sampling_params.custom_params or {}).get("crash")
        if mark is not None and len(request.output_ids) >= mark.get("at", 0):
            _crash(mark.get("by", "raise"))
    return original(scheduler, batch, *args, **kwargs)


def _crash(by: str) -> None:
    if by == "abort":
        os.abort()
    if by == "hang":
        time.sleep(3600)
    raise RuntimeError("a marked request")
