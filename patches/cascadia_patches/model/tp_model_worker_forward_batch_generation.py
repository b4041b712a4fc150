"""AROUND hook on TpModelWorker.forward_batch_generation: pace a worker on an emulated device.

Upstream: runs one forward of a batch and samples from it.
We need: the forward to take as long as on the device that `planner.emulate` describes.
"""

from collections.abc import Callable
from typing import Any

from cascadia_patches.spec import PatchSpec


def _build(pace: Any) -> Callable[..., Any]:
    def forward_batch_generation(
        original: Callable[..., Any], worker: Any, batch: Any, *args: Any, **kwargs: Any
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
