"""The entry points of worker and detokenizer processes: SGLang's own, with hooks applied."""

import inspect
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import setproctitle
import torch
from sglang.srt.managers.detokenizer_manager import run_detokenizer_process
from sglang.srt.managers.scheduler import run_scheduler_process
from sglang.srt.platforms import current_platform
from sglang.srt.server_args import ServerArgs

from cascadia_patches.apply import apply_patches
from cascadia_patches.registry import (
    CAPACITY_PATCHES,
    DRAFT_PATCHES,
    EVENT_PATCHES,
    FOLLOW_PATCHES,
    JUDGE_PATCHES,
    LOG_PATCHES,
    MEMORY_PATCHES,
    PACE_PATCHES,
    PROBE_PATCHES,
    PROGRESS_PATCHES,
    REPORT_PATCHES,
    SPECULATION_JUDGE_PATCHES,
    STEP_LOG_PATCHES,
    WINDOW_PATCHES,
    WORKER_PATCHES,
)
from cascadia_sglang.drafts.follower import DraftFollower
from cascadia_sglang.drafts.reader import DraftReader
from cascadia_sglang.drafts.second_judge import DraftJudge
from cascadia_sglang.drafts.verify_window import WindowedSteps
from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.judge.verification import VerifyObserver
from cascadia_sglang.messages import DRAFT_KEY, REPORT_KEY, WorkerLog, WorkerSpec
from cascadia_sglang.platform import NativeCpuPlatform
from cascadia_sglang.processes.liveness import start_beats
from cascadia_sglang.processes.logs import quiet_known_lines
from cascadia_sglang.processes.parent_death import end_with_parent
from cascadia_sglang.sglang_state import WORKER_SPEC
from cascadia_sglang.worker.device_part import DevicePart
from cascadia_sglang.worker.emulated_pace import Pace
from cascadia_sglang.worker.failed_start import reported
from cascadia_sglang.worker.host_part import HostPart
from cascadia_sglang.worker.start_progress import StartProgress, without_bars
from cascadia_sglang.worker.step_log import STEP_LOG_FOLDER, StepLog


def run_worker(pipe: Connection, server_args: ServerArgs, *arguments: Any) -> None:
    """SGLang's `run_scheduler_process` with what the worker's spec asks for in place.

    Args:
        pipe: where the process beats.
    """
    end_with_parent()
    _leave_interrupts_to_the_server()
    start_beats(pipe)
    spec = WORKER_SPEC.expect(server_args)
    # It finds its place in the process's memory by the environment that the process began with.
    setproctitle.getproctitle()
    os.environ.update(spec.environment)
    # Its process group holds all other workers too.
    os.environ["SGLANG_KILLPG_ON_SCHEDULER_EXCEPTION"] = "false"
    torch.set_num_threads(spec.threads)
    bound = inspect.signature(run_scheduler_process).bind(server_args, *arguments)
    if spec.log is not None:
        _arrange_log(spec.log)
        _observed(bound.arguments)
    apply_patches(WORKER_PATCHES)
    if spec.device_share is None:
        apply_patches(MEMORY_PATCHES, HostPart(spec.host_free_bytes))
    else:
        apply_patches((*MEMORY_PATCHES, *CAPACITY_PATCHES), DevicePart(spec.device_share))
    reporters: dict[str, Any] = {}
    judge: Judge | None = None
    if spec.judge.calibrations or spec.judge.ranked or spec.judge.record:
        judge = Judge.from_spec(spec.judge)
        apply_patches(JUDGE_PATCHES, judge)
        if server_args.speculative_algorithm is not None:
            apply_patches(SPECULATION_JUDGE_PATCHES, VerifyObserver(judge))
        if judge.reads_hidden:
            apply_patches(PROBE_PATCHES, judge)
        reporters[REPORT_KEY] = judge
    if spec.reads_drafts:
        reporters |= _draft_reporters(server_args, judge, spec)
    if reporters:
        apply_patches(REPORT_PATCHES, reporters)
    if spec.events is not None:
        apply_patches(EVENT_PATCHES)
    if spec.pace is not None:
        apply_patches(PACE_PATCHES, Pace.from_spec(spec.pace))
    if spec.environment.get(STEP_LOG_FOLDER):
        folder = Path(spec.environment[STEP_LOG_FOLDER])
        apply_patches(STEP_LOG_PATCHES, StepLog(folder, spec.worker_id))
    with reported(bound.arguments["pipe_writer"]):
        run_scheduler_process(*bound.args)


def _draft_reporters(
    server_args: ServerArgs, judge: Judge | None, spec: WorkerSpec
) -> dict[str, Any]:
    """Have a worker use drafts, in the way of its speculation; what reports on them, by key."""
    algorithm = server_args.speculative_algorithm
    if algorithm is None:
        # A probe wants the hidden state of the last token, of which a draft has others.
        if judge is not None and judge.reads_hidden:
            return {}
        reader = DraftReader(judge, DraftJudge.from_spec(spec.judge))
        apply_patches(DRAFT_PATCHES, reader)
        return {DRAFT_KEY: reader}
    if algorithm.upper() != "NGRAM":
        return {}
    if isinstance(current_platform, NativeCpuPlatform):
        # SGLang's ordinary wheel lacks what the worker imports.
        current_platform.get_speculative_worker_cls("NGRAM")
    follower = DraftFollower()
    apply_patches(FOLLOW_PATCHES, follower)
    # A profile's steps all verify the number of tokens that its log names.
    if spec.fits_window and not spec.environment.get(STEP_LOG_FOLDER):
        apply_patches(WINDOW_PATCHES, WindowedSteps())
    return {DRAFT_KEY: follower}


def run_detokenizer(pipe: Connection, log: WorkerLog | None, *arguments: Any) -> None:
    """SGLang's `run_detokenizer_process`, which beats on the pipe."""
    end_with_parent()
    _leave_interrupts_to_the_server()
    start_beats(pipe)
    if log is not None:
        _arrange_log(log)
    run_detokenizer_process(*arguments)


def _leave_interrupts_to_the_server() -> None:
    """Ctrl-C reaches all processes of the terminal; the server's drains, and ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _arrange_log(log: WorkerLog) -> None:
    if log.folder is not None:
        quiet_known_lines()
        without_bars()
    apply_patches(LOG_PATCHES, log)


def _observed(given: dict[str, Any]) -> None:
    """Tell how the start of this worker goes, until it says that it is ready."""
    if given["tp_rank"] == 0 and given["pp_rank"] == 0:
        progress = StartProgress()
        apply_patches(PROGRESS_PATCHES, progress)
        given["pipe_writer"] = progress.ending_with(given["pipe_writer"])
        progress.begin()
