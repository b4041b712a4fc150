"""The kernels, compiled: rows against float64 at serving's vocabularies, then their own tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import torch

from bench import ROOT
from bench.gpu_check.results import Check
from bench.kernel.run import TOLERANCE, reference
from bench.kernel.variants import cascadia_draft, cascadia_step, make_steps

ROWS = 4
# GPT-2's size class, Llama 2, Llama 3, Qwen3, Gemma 3, and an odd one beyond 2^18.
COLUMNS = (128, 32000, 128256, 151936, 262144, 300007)
COLUMNS_DRY = (128, 5003)
_PYTEST = (
    *("-c", "/dev/null", "--rootdir", ".", "-p", "no:cacheprovider", "--import-mode=importlib"),
    *("-o", "markers=gpu: needs a CUDA device\nslow: takes long", "-q", "-rf"),
)
_WORKERS = 6


def run(check: Check) -> bool:
    """The rows come first: they name the vocabulary and the number that is wrong."""
    exact = [
        check.passes(what, passed, **details) for what, passed, details in self_test(check.dry)
    ]
    return all(exact) and _tests_pass(check)


def self_test(dry: bool) -> Iterator[tuple[str, bool, dict[str, object]]]:
    """Random rows of every vocabulary, greedy and tempered, as a step and as a draft."""
    device = torch.device("cpu" if dry else "cuda")
    for columns in COLUMNS_DRY if dry else COLUMNS:
        for tempered in (False, True):
            (step,) = make_steps(ROWS, columns, torch.float32, tempered, 1, device)
            expected = reference(step)
            runs = (
                {"step": cascadia_step}
                if tempered
                else {
                    "step": cascadia_step,
                    "draft": cascadia_draft,
                }
            )
            for name, work in runs.items():
                values = work(step)
                worst = (values.double() - expected).abs().max().item()
                kind = " tempered" if tempered else ""
                yield (
                    f"{name}{kind}, V={columns}: {ROWS} rows equal float64",
                    bool(worst <= TOLERANCE),
                    {"worst": worst, "allowed": TOLERANCE},
                )


def _tests_pass(check: Check) -> bool:
    """The kernels' own tests on the card; without one, an operation of them interpreted."""
    command = [sys.executable, "-m", "pytest", *_PYTEST]
    if check.dry:
        command += ["-m", "not gpu", "-k", "B2-V2-float32", "tests/kernels/test_row_statistics.py"]
    else:
        command += ["-m", "gpu", "-n", str(_WORKERS), "tests/kernels"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout, flush=True)
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|errors?)", done.stdout)}
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return check.passes(
        "the kernel tests pass",
        done.returncode == 0 and counts.get("passed", 0) > 0,
        counts=counts,
        names=failed[:20],
    )
