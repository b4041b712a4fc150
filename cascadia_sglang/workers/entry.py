"""What runs in an engine worker's process: prepare it, then SGLang's own scheduler."""

import os
from typing import Any

import torch
from sglang.srt.managers.scheduler import run_scheduler_process
from sglang.srt.server_args import ServerArgs

from cascadia_patches.registry import JUDGE_PATCHES, apply_patches
from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.messages import WorkerSpec


def run_worker(server_args: ServerArgs, *arguments: Any) -> None:
    """SGLang's `run_scheduler_process` with the judge in place; same arguments."""
    spec: WorkerSpec = server_args._cascadia
    os.environ.update(spec.environment)
    torch.set_num_threads(spec.threads)
    if spec.calibrations:
        apply_patches(JUDGE_PATCHES, Judge.from_files(spec.calibrations))
    run_scheduler_process(server_args, *arguments)
