"""BEFORE hook on ModelRunner.forward: remember whose tokens the next forward computes.

Upstream: a batch knows its requests' ids; the batch that a CUDA-graph runner makes of it does not.
We need: to know, where the logits are computed, which requests have a draft.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.model_executor.forward_batch_info import ForwardBatch

    from cascadia_sglang.drafts.reader import DraftReader


def _build(reader: DraftReader) -> Callable[..., None]:
    def note_batch(
        _runner: object, forward_batch: ForwardBatch, *_args: object, **_options: object
    ) -> None:
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
