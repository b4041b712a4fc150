"""BEFORE hook on Scheduler._add_request_to_queue: let a request begin with a draft.

Upstream: a request waits without output, or with its own after it was retracted.
We need: one that came with a smaller tier's draft to wait as if it had written that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.managers.schedule_batch import Req
    from sglang.srt.managers.scheduler import Scheduler

    from cascadia_sglang.drafts.reader import DraftReader


def _build(reader: DraftReader) -> Callable[..., None]:
    def begin_with_draft(
        scheduler: Scheduler, req: Req, *_args: object, **_options: object
    ) -> None:
        reader.begin(scheduler, req)

    return begin_with_draft


PATCH = PatchSpec(
    target="sglang.srt.managers.scheduler.Scheduler._add_request_to_queue",
    hook_type="before",
    kind="function",
    parameters=("req", "is_retracted"),
    build=_build,
    reason="a larger tier reads the smaller one's draft in its prefill",
    drop_when="SGLang takes a prefix of the output with a request, and verifies it",
)
