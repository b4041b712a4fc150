"""Times the judge's launches, of a decoding step and of a draft, on a CUDA device, beside others.

    python -m bench.kernel.run [--out FILE] [--budget-s SECONDS]

Every variant is first checked against a float64 reference; one that fails it is not timed, and the
bench fails where that is ours. Device time is that of a CUDA graph over steps in memory of their
own, more of it than the cache holds, so every step reads cold logits.

Shape legend: B rows, V vocabulary, D step values.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
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

import torch
import triton

from bench.kernel.devices import CudaDevice, Device
from bench.kernel.variants import DRAFT, OURS, READ_ONLY, Step, Variant, make_steps, variants

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "bench" / "results" / "kernels.csv"

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A variant in a case; the order of the fields is that of the columns.

    Attributes:
        device_us_p50: of one step under graph replay, as `device_us_p20` and `device_us_p80`.
        host_us_p50: to launch one step eagerly.
        gb_per_s: bytes of the logits over the device time.
        read_only_share: the read-only sum's device time over this one's.
        times_ours: this device time over that of the judge's kernels.
    """

    variant: str
    rows: int
    columns: int
    dtype: str
    tempered: bool
    device_us_p50: float
    device_us_p20: float
    device_us_p80: float
    host_us_p50: float
    gb_per_s: float
    read_only_share: float
    times_ours: float
    steps: int
    repetitions: int
    device: str
    torch: str
    triton: str
    cuda: str
    commit: str
    date_utc: str
    command: str


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
        found = variant.run(step)
    except Exception as error:  # noqa: BLE001  another library refuses a shape or a device
        print(f"{variant.name} does not run: {error}", file=sys.stderr)
        return False
    if not variant.gives_step_values:
        return True
    worst = (found.double() - reference(step)).abs().max().item()
    if not worst <= TOLERANCE:
        print(f"{variant.name} is off by {worst:.2e}, allowed {TOLERANCE:.0e}", file=sys.stderr)
        return False
    return True


def count_steps(case: Case, device: Device) -> int:
    """Steps that together have four times the bytes of the cache, within limits."""
    step_bytes = case.rows * case.columns * case.dtype.itemsize
    wanted = max(LEAST_STEPS, 4 * device.cache_bytes // step_bytes)
    return int(min(MOST_STEPS, max(2, MOST_BYTES // step_bytes), wanted))


def measure(
    case: Case, device: Device, of_run: dict[str, str], repetitions: int = REPETITIONS
) -> Iterator[Result]:
    """All variants in a case, those that passed the gate.

    Raises:
        RuntimeError: the judge's own kernels did not pass.
    """
    count = count_steps(case, device)
    steps = make_steps(case.rows, case.columns, case.dtype, case.tempered, count, device.device)
    torch._dynamo.reset()
    found = [
        variant
        for variant in variants(on_device=device.device.type == "cuda")
        if passes(variant, steps[0])
    ]
    names = [variant.name for variant in found]
    failed = {OURS, DRAFT, READ_ONLY}.difference(names)
    if failed:
        raise RuntimeError(f"{', '.join(sorted(failed))} failed the gate in {case}")
    device_us: dict[str, list[float]] = {}
    host_us: dict[str, float] = {}
    for variant in found:
        works = [partial(variant.run, step) for step in steps]
        passes_us = device.replay_us(works, repetitions)
        device_us[variant.name] = sorted(us / count for us in passes_us)
        calls = [works[place % count] for place in range(HOST_CALLS if repetitions > 2 else 2)]
        host_us[variant.name] = statistics.median(device.host_us(calls))
    medians = {name: statistics.median(times) for name, times in device_us.items()}
    step_bytes = case.rows * case.columns * case.dtype.itemsize
    for name, times in device_us.items():
        yield Result(
            variant=name,
            rows=case.rows,
            columns=case.columns,
            dtype=str(case.dtype).removeprefix("torch."),
            tempered=case.tempered,
            device_us_p50=_rounded(medians[name]),
            device_us_p20=_rounded(times[len(times) // 5]),
            device_us_p80=_rounded(times[len(times) * 4 // 5]),
            host_us_p50=_rounded(host_us[name]),
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


def save(path: Path, results: Iterable[Result]) -> None:
    """Write the results of a device; those that the file has of other devices stay."""
    rows = [dataclasses.asdict(result) for result in results]
    devices = {row["device"] for row in rows}
    if path.exists():
        with path.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["device"] not in devices] + rows
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        columns = [field.name for field in dataclasses.fields(Result)]
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def run(device: Device, cases: Iterable[Case], path: Path, budget_s: float, **options: int) -> int:
    """Measure the cases while the budget lasts and save what was measured; an exit status."""
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
            print(
                f"B={result.rows} V={result.columns} {result.dtype}"
                f"{' tempered' if result.tempered else ''} {result.variant}: "
                f"{result.device_us_p50} us, host {result.host_us_p50} us, "
                f"{result.gb_per_s} GB/s, {result.read_only_share} of the read-only rate, "
                f"{result.times_ours} times ours",
                flush=True,
            )
    save(path, results)
    return 1 if left_out else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--budget-s", type=float, default=240.0)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("bench.kernel.run needs a CUDA device; torch sees none", file=sys.stderr)
        return 1
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "4")
    return run(CudaDevice(), CASES, arguments.out, arguments.budget_s)


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


if __name__ == "__main__":
    sys.exit(main())
