"""AROUND hook on DefaultModelLoader._get_all_weights: how much of a model is loaded.

Upstream: yields the weights to the model; a bar shows whole files, of which a model may have one.
We need: the bytes that have passed, for lines that can be read in a log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.configs.model_config import ModelConfig
    from sglang.srt.model_loader.loader import DefaultModelLoader
    from torch.nn import Module

    from cascadia_sglang.worker.start_progress import StartProgress


def _build(progress: StartProgress) -> Callable[..., Any]:
    def load(
        original: Callable[..., Any],
        loader: DefaultModelLoader,
        model_config: ModelConfig,
        model: Module,
    ) -> Iterator[tuple[str, Any]]:
        weights = original(loader, model_config, model)
        return progress.counting(weights, model_config.model_path)

    return load


PATCH = PatchSpec(
    target="sglang.srt.model_loader.loader.DefaultModelLoader._get_all_weights",
    hook_type="around",
    kind="function",
    parameters=("model_config", "model"),
    build=_build,
    reason="who waits for a large model wants to see that it is coming",
    drop_when="SGLang tells how far a load has come in lines",
)
