"""The mixed questions through `sglang.bench_serving`, as it is: its arrivals, client and figures.

It cannot tell whether an answer is right, so it stands beside the loops of `bench.rivals.compare`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.harness.estimates import spread
from bench.rivals.report import MetricEstimate
from demo.tasks.families import MAX_ANSWER_TOKENS, Row

LIMIT_S = 180.0
# Of what it writes, and their units.
FIGURES = {
    "request_throughput": "1/s",
    "median_e2e_latency_ms": "ms",
    "p95_e2e_latency_ms": "ms",
    "p99_e2e_latency_ms": "ms",
    "median_ttft_ms": "ms",
    "p95_ttft_ms": "ms",
}
Figures = Mapping[str, float]


def served(
    folder: Path, port: int, model: str, prompts: Sequence[Row], rate_per_s: float, seed: int
) -> Figures:
    """One run: Poisson arrivals, answers streamed.

    Args:
        model: whose tokenizer counts.

    Raises:
        RuntimeError: if it fails, or a request of it.
    """
    talks, out = folder / "questions.jsonl", folder / f"{port}-{seed}.jsonl"
    # It leaves out questions whose answer has one token.
    lines = [
        json.dumps({"conversations": [{"value": row.prompt}, {"value": row.answer.ljust(2)}]})
        for row in prompts
    ]
    talks.write_text("\n".join(lines))
    command = [
        *(sys.executable, "-m", "sglang.bench_serving", "--backend", "sglang"),
        *("--host", "127.0.0.1", "--port", str(port), "--model", model),
        *("--dataset-name", "custom", "--dataset-path", str(talks)),
        *("--num-prompts", str(len(prompts)), "--request-rate", f"{rate_per_s:g}"),
        *("--sharegpt-output-len", str(MAX_ANSWER_TOKENS), "--disable-ignore-eos"),
        *("--ready-check-timeout-sec", "0", "--disable-tqdm"),
        *("--seed", str(seed), "--output-file", str(out)),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if ran.returncode:
        raise RuntimeError(f"sglang.bench_serving ended with {ran.returncode}: {ran.stderr[-800:]}")
    figures = json.loads(out.read_text().splitlines()[-1])
    if figures["completed"] != len(prompts):
        raise RuntimeError(
            f"port {port} answered {figures['completed']} of {len(prompts)} requests"
        )
    return {name: float(figures[name]) for name in FIGURES}


def rows_of(runs: Sequence[Figures]) -> list[MetricEstimate]:
    """Metric, unit and value of all runs of a system."""
    return [(name, unit, spread([run[name] for run in runs])) for name, unit in FIGURES.items()]
