"""AFTER hook on Req._compute_max_prefix_len: compute a draft, even where its KV is cached.

Upstream: all of a request but its last token may come from the prefix cache.
We need: the logits at every place of a draft that is yet to be read, which no cache holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.managers.schedule_batch import Req

    from cascadia_sglang.drafts.reader import DraftReader


def _build(reader: DraftReader) -> Callable[..., int]:
    def limit(max_tokens: int, req: Req, *_args: object, **_options: object) -> int:
        cached: int = reader.cached_limit(req, max_tokens)
        return cached

    return limit


PATCH = PatchSpec(
    target="sglang.srt.managers.schedule_batch.Req._compute_max_prefix_len",
    hook_type="after",
    kind="function",
    parameters=("input_len",),
    build=_build,
    reason="what a draft is compared with is in the logits, and these are not cached",
    drop_when="SGLang takes a prefix of the output with a request, and verifies it",
)
