"""BEFORE hook on ModelRunner.sample: hand the hidden states of a step to the judge's probe.

Upstream: shows the sampling observer the logits, and samples.
We need: the hidden states that SGLang keeps beside the logits (`return_hidden_states_mode: last`),
which the observer is not shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.layers.logits_processor import LogitsProcessorOutput
    from sglang.srt.model_executor.model_runner import ModelRunner

    from cascadia_sglang.judge.judge import Judge


def _build(_judge: Judge) -> Callable[..., None]:
    def take_hidden_states(
        runner: ModelRunner,
        logits_output: LogitsProcessorOutput,
        *_args: object,
        **_options: object,
    ) -> None:
        if runner.sampling_observer is not None:
            runner.sampling_observer.hidden.take(logits_output.hidden_states)

    return take_hidden_states


PATCH = PatchSpec(
    target="sglang.srt.model_executor.model_runner.ModelRunner.sample",
    hook_type="before",
    kind="function",
    parameters=("logits_output",),
    build=_build,
    reason="a calibration's probe reads the hidden state beside the logits",
    drop_when="SGLang shows its sampling observer the hidden states",
)
