"""Hooks of the checks in the engine's workers, each behind an environment variable.

SGLang loads this as a plugin in every process of a server. Without the variables it does nothing.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# A folder: every worker writes there how long the device took for each of its forwards.
DEVICE_TIMES = "CASCADIA_GPU_CHECK_DEVICE_TIMES"
# "1": a prefill on the CPU hands its model the batch that a prefill graph would hand it on a card.
GRAPH_BATCHES = "CASCADIA_GPU_CHECK_GRAPH_BATCHES"

_RUNNER = "sglang.srt.model_executor.runner"


def register() -> None:
    """SGLang's general plugin."""
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    folder = os.environ.get(DEVICE_TIMES)
    if folder:
        HookRegistry.register(
            "sglang.srt.model_executor.model_runner.ModelRunner.forward",
            _timed(Path(folder)),
            HookType.AROUND,
        )
    if os.environ.get(GRAPH_BATCHES) == "1":
        HookRegistry.register(
            f"{_RUNNER}.eager_runner.EagerRunner.load_batch", _as_graph_batch(), HookType.AFTER
        )


def graph_batch_fields() -> frozenset[str]:
    """Fields of the `ForwardBatch` that SGLang's prefill graph runner makes for a live batch."""
    fields: set[str] = set()
    for function in ast.walk(ast.parse(_source("prefill_cuda_graph_runner.py"))):
        if not isinstance(function, ast.FunctionDef) or function.name != "load_batch":
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "ForwardBatch":
                fields |= {word.arg for word in node.keywords if word.arg is not None}
            elif isinstance(node, ast.Assign):
                fields |= {
                    target.attr
                    for target in node.targets
                    if isinstance(target, ast.Attribute)
                    and ast.unparse(target.value) == "static_forward_batch"
                }
    if "forward_mode" not in fields:
        raise RuntimeError("SGLang's prefill graph runner makes its batch in another way")
    return frozenset(fields)


def _source(name: str) -> str:
    """A file of SGLang's runners, read without an import of the package."""
    package = importlib.util.find_spec(_RUNNER.partition(".")[0])
    if package is None or not package.submodule_search_locations:
        raise RuntimeError("SGLang is not on the path")
    folders = _RUNNER.split(".")[1:]
    return Path(package.submodule_search_locations[0], *folders, name).read_text()


def _as_graph_batch() -> Callable[..., Any]:
    batch_fields = graph_batch_fields()

    def without_other_fields(batch: Any, *_args: Any, **_options: Any) -> Any:
        if not batch.forward_mode.is_extend():
            return None
        for field in dataclasses.fields(batch):
            if field.name not in batch_fields and field.default is not dataclasses.MISSING:
                setattr(batch, field.name, field.default)
        return batch

    return without_other_fields


def _timed(folder: Path) -> Callable[..., Any]:
    """Around a forward: the device's time from its first kernel to its last."""
    import torch

    file = (folder / f"device-{os.getpid()}.jsonl").open("w", encoding="utf-8", buffering=1)
    waiting: list[tuple[dict[str, Any], Any, Any]] = []

    def forward(
        original: Callable[..., Any], runner: Any, batch: Any, *args: Any, **kw: Any
    ) -> Any:
        on_card = torch.cuda.is_available()
        first, last = (_moment(on_card) for _ in range(2))
        shape = {
            "is_decode": batch.forward_mode.is_decode(),
            "rows": batch.batch_size,
            "tokens": int(batch.input_ids.shape[0]) if batch.input_ids is not None else 0,
        }
        first.record()
        result = original(runner, batch, *args, **kw)
        last.record()
        waiting.append((shape, first, last))
        while waiting and waiting[0][2].query():
            shape, begin, end = waiting.pop(0)
            file.write(json.dumps({**shape, "device_ms": begin.elapsed_time(end)}) + "\n")
        return result

    return forward


class _HostMoment:
    """`torch.cuda.Event` where there is no card: a forward is computed when it returns."""

    at_s = 0.0

    def record(self) -> None:
        self.at_s = time.perf_counter()

    def query(self) -> bool:
        return True

    def elapsed_time(self, end: _HostMoment) -> float:
        return 1000.0 * (end.at_s - self.at_s)


def _moment(on_card: bool) -> Any:
    import torch

    return torch.cuda.Event(enable_timing=True) if on_card else _HostMoment()
