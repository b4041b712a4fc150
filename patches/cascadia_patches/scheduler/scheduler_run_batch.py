"""AROUND hook on Scheduler.run_batch: note what every batch holds and when it is launched.

Upstream: launches one batch; on a CPU it computes it.
We need: measured step times of the real worker. Upstream's forward-pass metrics need the events of
an accelerator.
"""

from collections.abc import Callable
from typing import Any

from cascadia_patches.spec import PatchSpec


def _build(log: Any) -> Callable[..., Any]:
    def run_batch(
        original: Callable[..., Any], scheduler: Any, batch: Any, *args: Any, **kwargs: Any
    ) -> Any:
        return log.run(scheduler, batch, lambda: original(scheduler, batch, *args, **kwargs))

    return run_batch


PATCH = PatchSpec(
    target="sglang.srt.managers.scheduler.Scheduler.run_batch",
    hook_type="around",
    kind="function",
    parameters=("batch",),
    build=_build,
    reason="a profile is measured on the real worker's own steps",
    drop_when="SGLang's forward-pass metrics work without an accelerator",
)
