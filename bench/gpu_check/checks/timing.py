"""Device and host time of the judge's launches, each apart and together, beside other kernels.

Cold: every launch reads logits that no cache holds. Hot: the same logits again, as serving finds
those of a small batch just after the model wrote them. Device time is that of graph replays.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from bench.gpu_check.results import Check
from bench.harness.estimates import spread
from bench.kernel.devices import CudaDevice, Device, HostDevice
from bench.kernel.run import Case, count_steps
from bench.kernel.variants import (
    DRAFT,
    OURS,
    READ_ONLY,
    Step,
    cascadia_draft,
    cascadia_step,
    make_steps,
    read_only_sum,
    torch_step,
)
from cascadia_kernels.fold_sampled import fold_sampled
from cascadia_kernels.layout import RowStatistics
from cascadia_kernels.row_statistics import SPLITS, row_statistics

ROWS = (1, 256, 64, 8, 512)
COLUMNS = (151936, 128256, 262144)
DRAFT_PLACES = (64, 512, 2048)
SPLIT_ROWS = (1, 64, 256)
COMPILED_ROWS = (1, 256)
REPETITIONS = 10
MOST_HOT_ROWS = 64
HOST_CALLS = 64
_SLACK_S = 3.0  # a case that begins with less is left out

Work = Callable[[Step], object]


@dataclass(frozen=True, slots=True)
class TimedLaunch:
    """A launch, or several, to time on a step."""

    name: str
    work: Work


def run(check: Check) -> bool:
    """What serving does most comes first; what there is no time for is named."""
    device: Device = HostDevice() if check.dry else CudaDevice()
    left_out: list[str] = []
    passed: list[bool] = []
    for case, timed in cases(check.dry):
        name = f"B={case.rows}, V={case.columns}{', tempered' if case.tempered else ''}"
        if check.left_s() < _SLACK_S:
            left_out.append(f"{name}: {', '.join(each.name for each in timed)}")
            continue
        if timed:
            passed.append(measure(check, device, name, case, timed))
    in_time = check.passes("there was time for all cases", not left_out, left_out=left_out)
    return in_time and all(passed)


def cases(dry: bool) -> Iterator[tuple[Case, list[TimedLaunch]]]:
    """Shapes, and what is timed on each."""
    if dry:
        yield _case(1, 40, False), [*_together(), *_apart(), *_sglang(), *_splits()]
        yield _case(2, 40, True), _together()
        return
    for columns in COLUMNS:
        for rows in ROWS:
            for tempered in (False, True):
                first = columns == COLUMNS[0]
                more = [*_apart(), *_sglang()] if first and not tempered else []
                yield _case(rows, columns, tempered), [*_together(), *more]
        if columns == COLUMNS[0]:
            for places in DRAFT_PLACES:
                yield _case(places, columns, False), [TimedLaunch(DRAFT, cascadia_draft)]
            for rows in SPLIT_ROWS:
                yield _case(rows, columns, False), _splits()
    for rows in COMPILED_ROWS:
        compiled = TimedLaunch("torch.compile", torch.compile(torch_step, dynamic=False))
        yield _case(rows, COLUMNS[0], False), [compiled]


def measure(check: Check, device: Device, name: str, case: Case, timed: list[TimedLaunch]) -> bool:
    """Write the times of each; whether all ran. One that fails leaves the others their numbers."""
    count = 2 if check.dry else count_steps(case, device)
    steps = make_steps(case.rows, case.columns, case.dtype, case.tempered, count, device.device)
    passed = True
    for each in timed:
        try:
            _measure_one(check, device, name, case, each, steps)
        except Exception as error:  # noqa: BLE001  another library's kernel, or the card's memory
            traceback.print_exc()
            passed = check.passes(f"{name}: {each.name} runs", False, error=str(error)[:300])
        if device.device.type == "cuda":
            torch.cuda.empty_cache()  # of the graph just measured
    return passed


def _measure_one(
    check: Check, device: Device, name: str, case: Case, variant: TimedLaunch, steps: list[Step]
) -> None:
    """Device time, cold and, where serving's logits fit the cache, hot; host time."""
    repetitions = 1 if check.dry else REPETITIONS
    works = [partial(variant.work, step) for step in steps]
    for work in works:
        work()  # compiles, and makes what the launch alone reads
    cold = [us / len(steps) for us in device.replay_us(works, repetitions)]
    check.number(name, variant.name, "device time, cold", "us", spread(cold))
    step_bytes = case.rows * case.columns * case.dtype.itemsize
    rate = step_bytes / statistics.median(cold) / 1000.0
    check.number(name, variant.name, "of the logits, cold", "GB/s", rate)
    if case.rows <= MOST_HOT_ROWS:
        again = [works[0]] * len(steps)
        hot = [us / len(steps) for us in device.replay_us(again, repetitions)]
        check.number(name, variant.name, "device time, hot", "us", spread(hot))
    calls = [works[index % len(steps)] for index in range(2 if check.dry else HOST_CALLS)]
    check.number(name, variant.name, "host time", "us", spread(device.host_us(calls)))


def _case(rows: int, columns: int, tempered: bool) -> Case:
    return Case(rows=rows, columns=columns, dtype=torch.float32, tempered=tempered)


def _together() -> list[TimedLaunch]:
    return [
        TimedLaunch(OURS, cascadia_step),
        TimedLaunch("torch", torch_step),
        TimedLaunch(READ_ONLY, read_only_sum),
    ]


def _apart() -> list[TimedLaunch]:
    return [
        TimedLaunch(
            "row_statistics", lambda step: row_statistics(step.logits_BV, step.temperature_B)
        ),
        TimedLaunch("fold_sampled", _Fold()),
        TimedLaunch(DRAFT, cascadia_draft),
    ]


class _Fold:
    """A greedy step's second launch alone: its statistics are made before the clock runs."""

    def __init__(self) -> None:
        self._made: dict[int, RowStatistics] = {}

    def __call__(self, step: Step) -> object:
        key = id(step)
        if key not in self._made:
            self._made[key] = row_statistics(step.logits_BV, step.temperature_B)
        return fold_sampled(self._made[key], step.token_ids_B, None, None)


def _splits() -> list[TimedLaunch]:
    """Every way to split a row over programs that the kernel knows by name."""
    return [
        TimedLaunch(
            f"row_statistics, split {name}",
            lambda step, split=split: row_statistics(step.logits_BV, step.temperature_B, split),
        )
        for name, split in SPLITS.items()
    ]


def _sglang() -> list[TimedLaunch]:
    """SGLang's own sums over rows, from its file alone: the package takes seconds to import."""
    module = _sglang_logsumexp()
    if module is None:
        return []
    return [
        TimedLaunch("SGLang row_logsumexp", lambda step: module.row_logsumexp(step.logits_BV)),
        TimedLaunch(
            "SGLang row_logsumexp_topk", lambda step: module.row_logsumexp_topk(step.logits_BV, 2)
        ),
    ]


def _sglang_logsumexp() -> types.ModuleType | None:
    package = importlib.util.find_spec("sglang")
    if package is None or not package.submodule_search_locations:
        return None
    path = f"{package.submodule_search_locations[0]}/srt/layers/logsumexp.py"
    spec = importlib.util.spec_from_file_location("sglang_logsumexp", path)
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
