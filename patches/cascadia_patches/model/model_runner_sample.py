"""BEFORE hook on ModelRunner.sample: hand the hidden states of a step to the judge's probe.

Upstream: shows the sampling observer the logits, and samples.
We need: the hidden states that SGLang keeps beside the logits (`return_hidden_states_mode: last`),
which the observer is not shown.
"""

from collections.abc import Callable
from typing import Any

from cascadia_patches.spec import PatchSpec


def _build(_judge: Any) -> Callable[..., None]:
    def take_hidden_states(runner: Any, logits_output: Any, *_args: Any, **_options: Any) -> None:
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
