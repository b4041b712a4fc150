"""The shape of a batch that SGLang's scheduler runs, in the terms of step times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sglang.srt.managers.schedule_batch import ScheduleBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchShape:
    """What a step's time depends on; see `cascadia_sglang.planner.speed.profile.StepTimes`.

    Attributes:
        rows: requests of the batch; of a step that verifies drafts, the tokens of all drafts.
        tokens: new tokens of prompts; of a decoding step, its rows.
        context_tokens: of a decoding step: what its rows attend to, together.
        context_pairs: of a prefill: new tokens times the tokens before them, over its prompts.
    """

    is_decode: bool
    rows: int
    tokens: int
    context_tokens: int = 0
    context_pairs: int = 0


def shape_of(batch: ScheduleBatch) -> BatchShape:
    """Of a batch that is about to run and is not idle."""
    rows = len(batch.reqs)
    verifies = batch.forward_mode.is_target_verify()
    if verifies:
        rows *= batch.spec_info.draft_token_num
    if verifies or batch.forward_mode.is_decode():
        context = sum(request.seqlen for request in batch.reqs)
        return BatchShape(is_decode=True, rows=rows, tokens=rows, context_tokens=context)
    lengths = zip(batch.extend_lens, batch.prefix_lens, strict=True)
    return BatchShape(
        is_decode=False,
        rows=rows,
        tokens=batch.extend_num_tokens,
        context_pairs=sum(new * before for new, before in lengths),
    )
