"""BEFORE hook on ModelRunner.forward: remember whose tokens the next forward computes.

Upstream: a batch knows its requests' ids; the batch that a CUDA-graph runner makes of it does not.
We need: to know, where the logits are computed, which requests have a draft.
"""

from collections.abc import Callable
from typing import Any

from cascadia_patches.spec import PatchSpec


def _build(reader: Any) -> Callable[..., None]:
    def note_batch(_runner: Any, forward_batch: Any, *_args: Any, **_options: Any) -> None:
        reader.note_batch(forward_batch)

    return note_batch


PATCH = PatchSpec(
    target="sglang.srt.model_executor.model_runner.ModelRunner.forward",
    hook_type="before",
    kind="function",
    parameters=("forward_batch",),
    build=_build,
    reason="the batch of a CUDA-graph runner lacks the ids of its requests",
    drop_when="SGLang's CUDA-graph runners keep the request ids",
)
