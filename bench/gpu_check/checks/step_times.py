"""Logged step times beside the device's own; three tiers on one card, and the memory of each.

`cascadia profile` fits the times that workers log. Around the same forwards lie CUDA events, which
see the device's work alone: a logged step may be longer by the host's share, never much shorter.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from bench.gpu_check.bare_machine.worker_hooks import DEVICE_TIMES
from bench.gpu_check.checks.answers import ask, failed, questions
from bench.gpu_check.checks.drafts import cascade
from bench.gpu_check.checks.servers import Server, for_each, model, status
from bench.gpu_check.results import Check
from bench.harness.client import post, send_all
from cascadia_sglang.profiling.steps import read_steps
from cascadia_sglang.worker.step_log import STEP_LOG_FOLDER

TIERS = ("small", "middle", "large")
ROWS = (1, 8, 32)
PROMPTS = (64, 512, 1500)
DECODE_TOKENS = 24
# A logged median against the device's: below it the log has missed work, above it counted others'.
LEAST_SHARE = 0.8
MOST_DECODE_SHARE = 5.0


def run(check: Check) -> bool:
    """Both servers at once: the second one's memory is looked at, not its speed."""
    logged = Server(
        name="logged",
        config=cascade(False),
        environment={STEP_LOG_FOLDER: str(check.work), DEVICE_TIMES: str(check.work)},
    )
    shared = Server(name="three tiers", config=three_tiers(), sizes_itself=True)

    def work(server: Server, port: int) -> bool:
        return _compare(check, port) if server is logged else _share(check, port)

    return all(for_each(check, [logged, shared], work))


def three_tiers() -> dict[str, Any]:
    """The demo as its own file has it, without a word of memory or devices."""
    tiers = [
        {
            "name": name,
            "model_path": model(name),
            "calibration": f"{model(name)}/calibration.json",
            "server_args": {"max_total_tokens": 65536},
        }
        for name in TIERS
    ]
    return {"tiers": tiers, "routing": {"thresholds": [0.9, 0.5]}}


def _compare(check: Check, port: int) -> bool:
    random = Random(0)
    for rows in ROWS:
        for tokens in PROMPTS[:1] if check.dry else PROMPTS:
            send_all(port, _requests(random, rows, tokens), rows)
    passed: list[bool] = []
    compared = 0
    device = list(device_times(check.work))
    steps = read_steps(check.work, "first").steps
    for is_decode, kind in ((True, "decode"), (False, "prefill")):
        for rows in ROWS:
            log_ms = [
                1000 * s.seconds for s in steps if s.is_decode is is_decode and s.rows == rows
            ]
            card_ms = [
                d["device_ms"] for d in device if d["is_decode"] is is_decode and d["rows"] == rows
            ]
            if not log_ms or not card_ms:
                continue
            logged, on_device = statistics.median(log_ms), statistics.median(card_ms)
            case = f"{kind}, {rows} rows"
            check.number(case, "step log", "median step", "ms", logged)
            check.number(case, "device", "median forward", "ms", on_device)
            most = MOST_DECODE_SHARE if is_decode else float("inf")
            compared += 1
            if not check.dry:  # a CPU's times are those of whatever else its cores do
                passed.append(
                    check.passes(
                        f"{case}: the log tells the device's time",
                        LEAST_SHARE <= logged / on_device <= most,
                        logged_ms=logged,
                        device_ms=on_device,
                    )
                )
    passed.append(check.passes("steps were compared", compared > 0, cases=compared))
    return all(passed)


def _requests(random: Random, rows: int, tokens: int) -> list[bytes]:
    sampling = {"temperature": 0, "max_new_tokens": DECODE_TOKENS, "ignore_eos": True}
    prompts = [[random.randrange(2, 100) for _ in range(tokens)] for _ in range(rows)]
    return [
        post(
            "/generate",
            {"input_ids": prompt, "sampling_params": sampling},
            {"x-cascadia-tier": "first"},
        )
        for prompt in prompts
    ]


def device_times(folder: Path) -> Iterator[dict[str, Any]]:
    """What the workers' hooks wrote of their forwards."""
    for path in folder.glob("device-*.jsonl"):
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                yield json.loads(line)


def _share(check: Check, port: int) -> bool:
    rows = questions(8 if check.dry else 64, shift=4)
    answers = ask(port, rows, 8)
    state = status(port)
    for process, mib in memory_by_process():
        check.number("three tiers on one card", process, "device memory", "MiB", mib)
    ready = [worker for worker in state["workers"] if worker["state"] == "ready"]
    return check.passes(
        "three tiers on one card start and answer",
        not failed(answers) and len(ready) == len(TIERS),
        failed=len(failed(answers)),
        ready=len(ready),
    )


def memory_by_process() -> Iterator[tuple[str, float]]:
    """Process and MiB of the card's memory, as the driver tells."""
    if shutil.which("nvidia-smi") is None:
        return
    query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=10)
    for line in done.stdout.splitlines():
        pid, _, mib = line.partition(",")
        if mib.strip().isdecimal():
            yield f"process {pid.strip()}", float(mib)
