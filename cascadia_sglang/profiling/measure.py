"""Measures every tier of a cascade on this machine, one after the other, on its real workers."""

import functools
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import psutil

from cascadia_sglang.config.cascade_file import load_cascade
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.errors import WorkerError
from cascadia_sglang.models.hub_check import check_hub_names
from cascadia_sglang.planner.speed.profile import (
    EngineLimits,
    FitError,
    HostTimes,
    Profile,
    StepTimes,
)
from cascadia_sglang.planner.speed.step_fit import fit_step_times
from cascadia_sglang.processes.child_server import free_port, running_server
from cascadia_sglang.profiling.load import Load, LoadPlan
from cascadia_sglang.profiling.steps import WorkerSteps, read_steps
from cascadia_sglang.progress import StageProgress
from cascadia_sglang.worker.step_log import STEP_LOG_FOLDER

_ASKED, _WIDTH = 96, 8
_SECONDS = 20.0
_QUICK_ROWS = (1, 8, 32)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# Every model knows these token ids; a worker's own vocabulary is known once it has run.
_FEW_TOKENS = 16


def measure(cascade: Path, flags: Sequence[str], *, start_s: float, quick: bool) -> Profile:
    """Start the cascade with one worker a tier, load it tier by tier, and fit what it did.

    Args:
        flags: further flags of SGLang for the server.
        start_s: how long the server may take to start.
        quick: few, small sizes.

    Raises:
        ConfigError: if the cascade file cannot be served.
        StartError: if the server does not start.
        WorkerError: if a tier does not answer.
    """
    config = load_cascade(cascade)
    check_hub_names(config.models())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = ("--plugin", "cascadia", "--cascade-config", str(cascade), *flags)
        with running_server(
            command,
            port=free_port(),
            log=folder / "server.log",
            start_s=start_s,
            environment={STEP_LOG_FOLDER: name},
        ) as port:
            return measure_server(config, port, folder, quick=quick)


def measure_server(config: CascadeConfig, port: int, folder: Path, *, quick: bool) -> Profile:
    """Load a child process that serves a cascade, tier by tier, and fit what it did.

    Args:
        folder: to which its workers write their steps.
        quick: few, small sizes.

    Raises:
        WorkerError: if a tier does not answer.
    """
    server = _server_process(port)
    limits: dict[str, EngineLimits] = {}
    for tier in config.tiers:
        print(f"measuring {tier.name}", file=sys.stderr, flush=True)
        load = _load(port, folder, tier.name, seed=0)
        measured = read_steps(folder, tier.name)
        with StageProgress("requests") as progress:
            load.run(_plan(measured, quick), functools.partial(progress, tier.name))
        limits[tier.name] = measured.limits
    host = _host_times(config, port, folder, server, limits)
    times: dict[str, StepTimes] = {}
    decode_error: dict[str, FitError] = {}
    prefill_error: dict[str, FitError] = {}
    measured_T = [read_steps(folder, tier.name) for tier in config.tiers]
    for tier, measured in zip(config.tiers, measured_T, strict=True):
        plain, decode_error[tier.name], prefill_error[tier.name] = fit_step_times(measured.steps)
        times[tier.name] = msgspec.structs.replace(
            plain,
            draft_rows=measured.draft_rows,
            tokens_per_step=round(max(1.0, measured.tokens_per_step), 4),
        )
    return Profile(
        version=1,
        device=f"one worker on {device_of(measured_T)}",
        tiers=times,
        limits=limits,
        host=host,
        decode_error=decode_error,
        prefill_error=prefill_error,
    )


def device_of(measured: Sequence[WorkerSteps]) -> str:
    """What the tiers' workers ran on: the name of their accelerators, or the cores of a host."""
    names = list(dict.fromkeys(steps.device for steps in measured))
    if names == ["cpu"]:
        cores = len(os.sched_getaffinity(0))
        return f"{cores} cores of {platform.processor() or platform.machine()}"
    return ", ".join(names)


def _load(port: int, folder: Path, tier: str, seed: int) -> Load:
    """The load of a tier, whose worker says how many token ids there are."""
    first = Load(port, tier, _FEW_TOKENS, seed)
    first.ask([first.prompt(8)], 3)
    return Load(port, tier, read_steps(folder, tier).vocabulary, seed)


def _plan(measured: WorkerSteps, quick: bool) -> LoadPlan:
    """What fits the worker: half of its context, half of its KV cache, its running requests."""
    limits = measured.limits
    largest = min(measured.context_tokens // 2, limits.kv_tokens // 2, 128 if quick else 4096)
    rows = [count for count in _ROWS if count <= limits.max_running_requests]
    return LoadPlan(
        rows=[count for count in _QUICK_ROWS if count in rows] if quick else rows,
        largest_prompt=largest,
        most_tokens=min(8192, limits.kv_tokens // 2),
        rounds=2 if quick else 4,
        seconds=_SECONDS,
    )


def _host_times(
    config: CascadeConfig,
    port: int,
    folder: Path,
    server: psutil.Process,
    limits: dict[str, EngineLimits],
) -> HostTimes:
    """The front's work from its processor time, the wire from what is left of a lone request."""
    first = config.tiers[0]
    load = _load(port, folder, first.name, seed=1)
    load.ask_many(2 * _WIDTH, _WIDTH)
    alone_s = []
    for _ in range(_ASKED // 4):
        before_s = read_steps(folder, first.name).all_s
        seconds = load.ask([load.prompt(8)], 2)
        alone_s.append(seconds - (read_steps(folder, first.name).all_s - before_s))
    front_s = _processor_s(server, load, None)
    wire_s = max(0.0, statistics.median(alone_s) - front_s)
    escalate_s = 0.0
    if len(config.tiers) > 1:
        climbing_s = _processor_s(server, load, {"x-cascadia-threshold": "1"})
        escalate_s = max(0.0, climbing_s - front_s) / (len(config.tiers) - 1)
    step_s = [s for tier in config.tiers for s in read_steps(folder, tier.name).host_s]
    on_host = all(limit.is_blocking for limit in limits.values()) and not config.planner.emulate
    return HostTimes(
        receive_ms=round(500 * front_s, 4),
        respond_ms=round(500 * front_s, 4),
        escalate_ms=round(1000 * escalate_s, 4),
        wire_ms=round(1000 * wire_s, 4),
        shared_cores=float(len(os.sched_getaffinity(0))) if on_host else 0.0,
        step_ms=round(1000 * statistics.median(step_s), 4) if step_s else 0.0,
    )


def _processor_s(server: psutil.Process, load: Load, headers: dict[str, str] | None) -> float:
    """Processor time of the server's main process for a request."""
    before = server.cpu_times()
    load.ask_many(_ASKED, _WIDTH, headers)
    after = server.cpu_times()
    return float(after.user + after.system - before.user - before.system) / _ASKED


def _server_process(port: int) -> psutil.Process:
    for child in psutil.Process().children():
        if str(port) in child.cmdline():
            return child
    raise WorkerError("the server's process is gone")
