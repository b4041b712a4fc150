"""BEFORE hook on Scheduler._relay_forward_payload: go on from where a draft is the tier's own.

Upstream: hands the tokens that a forward has sampled to the next one.
We need: a request that read a draft to be shortened first to what it keeps, for the sampled token
comes after that. In an overlapped loop `launch_batch_sample_if_needed` does it, which comes later.
"""

from collections.abc import Callable
from typing import Any

from cascadia_patches.spec import PatchSpec


def _build(reader: Any) -> Callable[..., None]:
    def settle_drafts(scheduler: Any, batch: Any, *_args: Any, **_options: Any) -> None:
        reader.settle_relayed(scheduler, batch)

    return settle_drafts


PATCH = PatchSpec(
    target="sglang.srt.managers.scheduler.Scheduler._relay_forward_payload",
    hook_type="before",
    kind="function",
    parameters=("batch",),
    build=_build,
    reason="the tokens that a tier would not have written are taken back before it writes on",
    drop_when="SGLang takes a prefix of the output with a request, and verifies it",
)
