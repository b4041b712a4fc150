"""AFTER hook on NGRAMWorker._prepare_draft_tokens: propose the tokens of a request's draft.

Upstream: proposes a tree of tokens for each request, from a corpus of what the worker has seen.
We need: the answer of a smaller tier as the proposal, found again after every difference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.managers.schedule_batch import ScheduleBatch
    from sglang.srt.speculative.ngram_worker import NGRAMWorker

    from cascadia_sglang.drafts.follower import DraftFollower


def _build(follower: DraftFollower) -> Callable[..., Any]:
    def propose(proposals: Any, worker: NGRAMWorker, batch: ScheduleBatch) -> Any:
        return follower.propose(proposals, worker, batch)

    return propose


PATCH = PatchSpec(
    target="sglang.srt.speculative.ngram_worker.NGRAMWorker._prepare_draft_tokens",
    hook_type="after",
    kind="function",
    parameters=("batch",),
    build=_build,
    reason="a larger tier verifies the smaller one's answer as its own speculation",
    drop_when="SGLang takes tokens to speculate with from a request",
)
