"""AFTER hook on ModelRunner.__init__: install the judge's sampling observer.

Upstream: every model runner of a worker, the drafts of speculative decoding included.
We need: the observer on the runner that samples. The runner itself says where it is not
supported; a draft runner never samples for a request.
"""

from collections.abc import Callable
from typing import Any

from cascadia_patches.registry import PatchSpec


def _build(judge: Any) -> Callable[..., None]:
    def install_observer(_result: None, runner: Any, *_args: Any, **_kwargs: Any) -> None:
        from cascadia_sglang.judge.observer import build_observer

        if not runner.is_draft_worker:
            columns = runner.model_config.vocab_size
            runner.sampling_observer = build_observer(judge, runner.device, columns)

    return install_observer


PATCH = PatchSpec(
    target="sglang.srt.model_executor.model_runner.ModelRunner.__init__",
    hook_type="after",
    kind="function",
    parameters=("is_draft_worker",),
    build=_build,
    reason="the judge reads logits through SGLang's sampling observer",
    drop_when="SGLang lets a plugin name the sampling observer",
)
