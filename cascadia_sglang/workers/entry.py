"""What runs in an engine worker's process: prepare it, then SGLang's own scheduler."""

import os
from typing import Any

import setproctitle
import torch
from sglang.srt.managers.scheduler import run_scheduler_process
from sglang.srt.server_args import ServerArgs

from cascadia_patches.registry import JUDGE_PATCHES, PACE_PATCHES, apply_patches
from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.messages import WorkerSpec
from cascadia_sglang.workers.pace import Pace


def run_worker(server_args: ServerArgs, *arguments: Any) -> None:
    """SGLang's `run_scheduler_process` with the judge, and an emulated device's pace, in place."""
    spec: WorkerSpec = server_args._cascadia
    # It finds its place in the process's memory by the environment that the process began with.
    setproctitle.getproctitle()
    os.environ.update(spec.environment)
    torch.set_num_threads(spec.threads)
    if spec.judge.calibrations or spec.judge.record:
        apply_patches(JUDGE_PATCHES, Judge.from_spec(spec.judge))
    if spec.pace is not None:
        apply_patches(PACE_PATCHES, Pace.from_spec(spec.pace))
    run_scheduler_process(server_args, *arguments)
