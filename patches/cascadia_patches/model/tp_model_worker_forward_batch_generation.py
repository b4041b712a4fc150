"""AROUND hook on TpModelWorker.forward_batch_generation: pace a worker on an emulated device.

Upstream: runs one forward of a batch and samples from it.
We need: the forward to take as long as on the device that `planner.emulate` describes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.managers.schedule_batch import ScheduleBatch
    from sglang.srt.managers.tp_worker import TpModelWorker

    from cascadia_sglang.worker.emulated_pace import Pace


def _build(pace: Pace) -> Callable[..., Any]:
    def forward_batch_generation(
        original: Callable[..., Any],
        worker: TpModelWorker,
        batch: ScheduleBatch | None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        def forward() -> Any:
            return original(worker, batch, *args, **kwargs)

        if batch is None or batch.forward_mode.is_idle():
            return forward()
        return pace.run(forward, batch)

    return forward_batch_generation


PATCH = PatchSpec(
    target="sglang.srt.managers.tp_worker.TpModelWorker.forward_batch_generation",
    hook_type="around",
    kind="function",
    parameters=("batch",),
    build=_build,
    reason="an emulated device has its own speed",
    drop_when="SGLang emulates devices",
)
