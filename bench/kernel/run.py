"""Times the judge's launches, of a decoding step and of a draft, on a CUDA device, beside others.

    python -m bench.kernel.run [--out FILE] [--budget-s SECONDS] [--splits]

`--splits` times the judge's step in every split of the rows over programs in place of the rest.
Every row is saved as it is made.

Every variant is first checked against a float64 reference; one that fails it is not timed, and the
bench fails where that is ours. Device time is that of a CUDA graph over steps in memory of their
own, more of it than the cache holds, so every step reads cold logits.

Shape legend: B rows, V vocabulary, D step values.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
import triton

from bench import RESULTS, ROOT
from bench.kernel.devices import CudaDevice, Device
from bench.kernel.results import Result, save
from bench.kernel.variants import (
    DRAFT,
    OURS,
    READ_ONLY,
    Step,
    Variant,
    make_steps,
    split_variants,
    variants,
)

RESULT = RESULTS / "kernels.csv"

REPETITIONS = 20
HOST_CALLS = 64
LEAST_STEPS = 8
MOST_STEPS = 256
MOST_BYTES = 8 << 30  # of logits in all steps of a case
TOLERANCE = 1e-3  # two float32 softmaxes may lie between a probability and its logit


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One shape of a step."""

    rows: int
    columns: int
    dtype: torch.dtype
    tempered: bool


# Serving's dtype at the vocabulary of Qwen3; from 256 rows on a step reads over 128 MB.
CASES = [
    *(
        Case(rows=rows, columns=151936, dtype=torch.float32, tempered=tempered)
        for rows in (1, 8, 64, 256)
        for tempered in (False, True)
    ),
    Case(rows=512, columns=151936, dtype=torch.float32, tempered=True),
    Case(rows=64, columns=128256, dtype=torch.float32, tempered=True),
    Case(rows=256, columns=151936, dtype=torch.bfloat16, tempered=True),
]


def reference(step: Step) -> torch.Tensor:
    """Step values [B, D] in float64."""
    logprobs_BV = step.logits_BV.double().log_softmax(dim=-1)
    best_B2 = step.logits_BV.double().topk(2, dim=-1).values
    logprob_B = logprobs_BV.gather(1, step.token_ids_B.unsqueeze(-1)).squeeze(-1)
    columns = torch.tensor(float(logprobs_BV.shape[1]), dtype=torch.float64)
    return torch.stack(
        (
            logprob_B,
            -(logprobs_BV.exp() * logprobs_BV).sum(dim=-1),
            best_B2.select(1, 0) - best_B2.select(1, 1),
            -logprobs_BV.mean(dim=-1) - columns.log(),
            torch.ones_like(logprob_B),
        ),
        dim=-1,
    )


def passes(variant: Variant, step: Step) -> bool:
    """Run a variant and compare it with the reference where it gives step values."""
    try:
        values = variant.run(step)
    except Exception as error:  # noqa: BLE001  another library refuses a shape or a device
        print(f"{variant.name} does not run: {error}", file=sys.stderr)
        return False
    if not variant.gives_step_values:
        return True
    worst = (values.double() - reference(step)).abs().max().item()
    if not worst <= TOLERANCE:
        print(f"{variant.name} is off by {worst:.2e}, allowed {TOLERANCE:.0e}", file=sys.stderr)
        return False
    return True


def count_steps(case: Case, device: Device) -> int:
    """Steps that together have four times the bytes of the cache, within limits."""
    step_bytes = case.rows * case.columns * case.dtype.itemsize
    steps = max(LEAST_STEPS, 4 * device.cache_bytes // step_bytes)
    return int(min(MOST_STEPS, max(2, MOST_BYTES // step_bytes), steps))


def measure(
    case: Case,
    device: Device,
    of_run: dict[str, str],
    repetitions: int = REPETITIONS,
    *,
    splits: bool = False,
) -> Iterator[Result]:
    """All variants in a case, those that passed the gate; each once it is timed.

    Raises:
        RuntimeError: the judge's own kernels did not pass.
    """
    count = count_steps(case, device)
    steps = make_steps(case.rows, case.columns, case.dtype, case.tempered, count, device.device)
    torch._dynamo.reset()
    candidates = variants(on_device=device.device.type == "cuda")
    if splits:
        anchors = (READ_ONLY, OURS, DRAFT)
        candidates = [
            candidate for candidate in candidates if candidate.name in anchors
        ] + split_variants()
    correct = [variant for variant in candidates if passes(variant, steps[0])]
    names = [variant.name for variant in correct]
    failed = {OURS, DRAFT, READ_ONLY}.difference(names)
    if failed:
        raise RuntimeError(f"{', '.join(sorted(failed))} failed the gate in {case}")
    medians: dict[str, float] = {}
    step_bytes = case.rows * case.columns * case.dtype.itemsize
    # The two that the others are compared with come first.
    for variant in correct:
        works = [partial(variant.run, step) for step in steps]
        times = sorted(us / count for us in device.replay_us(works, repetitions))
        calls = [works[index % count] for index in range(HOST_CALLS if repetitions > 2 else 2)]
        host_us = statistics.median(device.host_us(calls))
        medians[variant.name] = statistics.median(times)
        if OURS not in medians:
            read_only = (times, host_us)
            continue
        pending = [(variant.name, times, host_us)]
        if variant.name == OURS:
            pending.insert(0, (READ_ONLY, *read_only))
        for name, device_us, host in pending:
            yield Result(
                variant=name,
                rows=case.rows,
                columns=case.columns,
                dtype=str(case.dtype).removeprefix("torch."),
                tempered=case.tempered,
                device_us_p50=_rounded(medians[name]),
                device_us_p20=_rounded(device_us[len(device_us) // 5]),
                device_us_p80=_rounded(device_us[len(device_us) * 4 // 5]),
                host_us_p50=_rounded(host),
                gb_per_s=_rounded(step_bytes / medians[name] / 1000.0),
                read_only_share=_rounded(medians[READ_ONLY] / medians[name]),
                times_ours=_rounded(medians[name] / medians[OURS]),
                steps=count,
                repetitions=repetitions,
                **of_run,
            )


def facts(device: Device) -> dict[str, str]:
    """What all results of a run share."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "device": device.name,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "cuda": str(torch.version.cuda),
        "commit": commit.stdout.strip() or "unknown",
        "date_utc": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        "command": shlex.join(["python", "-m", "bench.kernel.run", *sys.argv[1:]]),
    }


def run(device: Device, cases: Iterable[Case], path: Path, budget_s: float, **options: Any) -> int:
    """Measure the cases while the budget lasts, saving every row at once; an exit status.

    Args:
        options: of `measure`.
    """
    start = time.monotonic()
    of_run = facts(device)
    results: list[Result] = []
    left_out = 0
    for case in cases:
        if time.monotonic() - start > budget_s:
            print(f"left out for want of time: {case}", file=sys.stderr)
            left_out += 1
            continue
        for result in measure(case, device, of_run, **options):
            results.append(result)
            save(path, results)  # a run that is ended keeps what it has measured
            print(
                f"B={result.rows} V={result.columns} {result.dtype}"
                f"{' tempered' if result.tempered else ''} {result.variant}: "
                f"{result.device_us_p50} us, host {result.host_us_p50} us, "
                f"{result.gb_per_s} GB/s, {result.read_only_share} of the read-only rate, "
                f"{result.times_ours} times ours",
                flush=True,
            )
    return 1 if left_out else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--budget-s", type=float, default=240.0)
    parser.add_argument("--splits", action="store_true", help="every split of the rows instead")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("bench.kernel.run needs a CUDA device; torch sees none", file=sys.stderr)
        return 1
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "4")
    out, budget_s = arguments.out, arguments.budget_s
    return run(CudaDevice(), CASES, out, budget_s, splits=arguments.splits)


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


if __name__ == "__main__":
    sys.exit(main())
