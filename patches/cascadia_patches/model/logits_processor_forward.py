"""AFTER hook on LogitsProcessor.forward: read the drafts of a batch.

Upstream: the logits of each request's last token, or log-probabilities of its input on their way to
the client.
We need: what the model prefers at every place of a draft; and, in place of the logits of a
draft's last token, those of the place at which the model's own answer parts from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.layers.logits_processor import LogitsProcessor, LogitsProcessorOutput
    from sglang.srt.model_executor.forward_batch_info import ForwardBatch
    from torch import Tensor
    from torch.nn import Module

    from cascadia_sglang.drafts.reader import DraftReader


def _build(reader: DraftReader) -> Callable[..., None]:
    def read_drafts(
        output: LogitsProcessorOutput,
        processor: LogitsProcessor,
        input_ids: Tensor,
        hidden_states: Tensor,
        lm_head: Module,
        logits_metadata: ForwardBatch,
        *_args: object,
        **_options: object,
    ) -> None:
        del input_ids
        reader.read(output, processor, hidden_states, lm_head, logits_metadata)

    return read_drafts


PATCH = PatchSpec(
    target="sglang.srt.layers.logits_processor.LogitsProcessor.forward",
    hook_type="after",
    kind="function",
    parameters=("input_ids", "hidden_states", "lm_head", "logits_metadata"),
    build=_build,
    reason="a draft is compared with what the model prefers, where the model computes that",
    drop_when="SGLang takes a prefix of the output with a request, and verifies it",
)
