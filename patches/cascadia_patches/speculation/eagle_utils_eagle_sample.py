"""AROUND hook on eagle_utils.eagle_sample: show the judge which drafts were accepted.

Upstream: accepts nodes of the batch's draft trees by their logits, for NGRAM and for the algorithms
with a draft model alike. The sampling observer is not called.
We need: the logits of the accepted nodes, as SGLang's sampling observer asks of such a path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.constrained.base_grammar_backend import GrammarMask
    from sglang.srt.layers.logits_processor import LogitsProcessorOutput
    from sglang.srt.managers.schedule_batch import ScheduleBatch
    from sglang.srt.speculative.eagle_info import EagleVerifyInput

    from cascadia_sglang.judge.verification import VerifyObserver


def _build(observer: VerifyObserver) -> Callable[..., Any]:
    def sample_and_observe(
        original: Callable[..., Any],
        verify_input: EagleVerifyInput,
        batch: ScheduleBatch,
        logits_output: LogitsProcessorOutput,
        grammar_mask: GrammarMask | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        def verify() -> Any:
            return original(verify_input, batch, logits_output, grammar_mask, *args, **kwargs)

        nodes = verify_input.draft_token_num
        return observer.observe(verify, nodes, batch, logits_output, grammar_mask)

    return sample_and_observe


PATCH = PatchSpec(
    target="sglang.srt.speculative.eagle_utils.eagle_sample",
    called_as=(
        "sglang.srt.speculative.eagle_worker_common.eagle_sample",
        "sglang.srt.speculative.ngram_worker.eagle_sample",
    ),
    hook_type="around",
    kind="function",
    parameters=("verify_input", "batch", "logits_output", "grammar_mask"),
    build=_build,
    reason="the judge reads the logits of accepted drafts",
    drop_when="SGLang calls its sampling observer for accepted drafts",
)
