"""Reads the step logs of workers (`cascadia_sglang.worker.step_log`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cascadia_sglang.errors import WorkerError
from cascadia_sglang.planner.speed.profile import EngineLimits
from cascadia_sglang.planner.speed.step_fit import MeasuredStep


class _Header(msgspec.Struct):
    worker: str
    device: str
    kv_tokens: int
    vocabulary: int
    context_tokens: int
    max_running_requests: int
    chunked_prefill_tokens: int | None
    max_prefill_tokens: int
    new_token_ratio: float
    is_blocking: bool
    draft_rows: int = 1


class _Line(msgspec.Struct):
    is_decode: bool
    rows: int
    tokens: int
    context_tokens: int
    context_pairs: int
    started_s: float
    forward_s: float
    step_s: float | None
    host_s: float | None
    given_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSteps:
    """A worker's steps whose time is known, and what the worker holds.

    Attributes:
        device: the accelerator's name; `cpu` on a host.
        vocabulary: how many token ids the model knows.
        context_tokens: prompt and answer together.
        host_s: of every decoding step: what the scheduler itself took, the device apart.
        all_s: of all its steps, those before a pause with their forward alone.
        draft_rows, tokens_per_step: as in `StepTimes`.
    """

    device: str
    vocabulary: int
    context_tokens: int
    limits: EngineLimits
    steps: Sequence[MeasuredStep]
    host_s: Sequence[float]
    all_s: float
    draft_rows: int = 1
    tokens_per_step: float = 1.0


def read_steps(folder: Path, tier: str) -> WorkerSteps:
    """Steps of the first worker of a tier, none yet after its first launch alone.

    A last line that is cut off is left out.

    Raises:
        WorkerError: if no worker of the tier has launched a step.
    """
    paths = sorted(path for path in folder.glob("*.jsonl") if _serves(path.stem, tier))
    lines = paths[0].read_bytes().split(b"\n")[:-1] if paths else []
    if not lines:
        raise WorkerError(f"no worker of tier {tier} has run a step")
    header = msgspec.json.decode(lines[0], type=_Header)
    records = [msgspec.json.decode(line, type=_Line) for line in lines[1:]]
    steps = [
        MeasuredStep(
            is_decode=line.is_decode,
            seconds=line.step_s,
            rows=line.rows * (header.draft_rows if line.is_decode else 1),
            tokens=line.tokens,
            context_tokens=line.context_tokens,
            context_pairs=line.context_pairs,
        )
        for line in records
        if line.step_s is not None
    ]
    limits = EngineLimits(
        kv_tokens=header.kv_tokens,
        max_running_requests=header.max_running_requests,
        chunked_prefill_tokens=header.chunked_prefill_tokens,
        max_prefill_tokens=header.max_prefill_tokens,
        new_token_ratio=header.new_token_ratio,
        is_blocking=header.is_blocking,
    )
    total = sum(line.forward_s if line.step_s is None else line.step_s for line in records)
    return WorkerSteps(
        device=header.device,
        vocabulary=header.vocabulary,
        context_tokens=header.context_tokens,
        limits=limits,
        steps=steps,
        host_s=[line.host_s for line in records if line.is_decode and line.host_s is not None],
        all_s=total,
        draft_rows=header.draft_rows,
        tokens_per_step=_tokens_per_step(records),
    )


def _tokens_per_step(lines: Sequence[_Line]) -> float:
    """Tokens that a decoding step gave a request, mean over the steps that say it."""
    counted = [line for line in lines if line.is_decode and line.given_tokens is not None]
    rows = sum(line.rows for line in counted)
    return sum(line.given_tokens or 0 for line in counted) / rows if rows else 1.0


def _serves(worker_id: str, tier: str) -> bool:
    """Worker ids are the pool's tiers, joined by plus signs, and a number."""
    return tier in worker_id.rpartition("-")[0].split("+")
