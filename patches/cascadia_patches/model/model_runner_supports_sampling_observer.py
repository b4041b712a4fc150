"""AROUND hook on ModelRunner.supports_sampling_observer: under speculative decoding too.

Upstream: refuses a sampling observer under speculative decoding, unless whoever installs it shows
it the accepted tokens itself.
We need: an observer for the first token of a request; the hook on `eagle_sample` shows the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.model_executor.model_runner import ModelRunner

    from cascadia_sglang.judge.verification import VerifyObserver


def _build(_observer: VerifyObserver) -> Callable[..., bool]:
    def supports(original: Callable[..., bool], runner: ModelRunner) -> bool:
        has_one_stage = runner.pp_group.world_size == 1
        return original(runner) or (has_one_stage and not runner.is_draft_worker)

    return supports


PATCH = PatchSpec(
    target="sglang.srt.model_executor.model_runner.ModelRunner.supports_sampling_observer",
    hook_type="around",
    kind="function",
    parameters=(),
    build=_build,
    reason="the judge reads the logits of accepted drafts",
    drop_when="SGLang calls its sampling observer for accepted drafts",
)
