"""AFTER hook on ModelRunner.__init__: install the judge's sampling observer.

Upstream: every model runner of a worker, the drafts of speculative decoding included.
We need: the observer on the runner that samples. The runner itself says where it is not
supported; a draft runner never samples for a request. A judge that cannot run here ends the worker
at once: an exception would have SGLang kill the whole server before the reason is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.model_executor.model_runner import ModelRunner

    from cascadia_sglang.judge.judge import Judge


def _build(judge: Judge) -> Callable[..., None]:
    def install_observer(
        _result: None, runner: ModelRunner, *_args: object, **_kwargs: object
    ) -> None:
        from cascadia_sglang.errors import WorkerError
        from cascadia_sglang.judge.observer import build_observer
        from cascadia_sglang.worker.failed_start import UnfitWorkerError

        if runner.is_draft_worker:
            return
        config = runner.model_config
        try:
            observer = build_observer(
                judge,
                runner.device,
                config.vocab_size,
                config.dtype,
                speculates=not runner.spec_algorithm.is_none(),
            )
        except WorkerError as error:
            raise UnfitWorkerError(str(error)) from None
        runner.sampling_observer = observer

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
