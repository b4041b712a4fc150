"""Requests like Azure's: when they come, and how many times as long as its answer a prompt is.

The traces' files hold the first 320 requests of two services on 2023-11-16, out of the Azure Public
Dataset (AzureLLMInferenceTrace, CC-BY; Splitwise, ISCA 2024).
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np

from cascadia_sglang.planner.workload.traces import load_trace
from demo.tasks.families import Row
from demo.tasks.splits import sample

FOLDER = Path(__file__).parent / "azure"
TRACES = ("conversation", "code")
# Questions that are chosen from; those with long prompts, by the factor in `WEIGHTS` more often.
POOL = 2_000
WEIGHTS = {"get": 4.0}
# Questions of about a ratio, of which one is taken.
NEAREST = 8


def like(
    trace: str, part: int, count: int, rate_per_s: float, seed: int
) -> tuple[list[Row], list[float]]:
    """Requests of a trace in turn, each as a question of the demo, and when it is asked.

    A question's prompt is about as many times as long as its answer as the traced one's, as far as
    the demo's questions go: from 1.3 to some 400 times.

    Args:
        trace: one of `TRACES`.
        part: which `count` requests of the trace; after the last come the first.
        rate_per_s: mean of the times; their burstiness is the trace's.
    """
    traced = load_trace(FOLDER / f"{trace}.csv")
    chosen = np.arange(part * count, (part + 1) * count) % len(traced)
    pool, rng = sample("test", seed, POOL, weights=WEIGHTS), Random(seed)
    longer_P = np.log([len(row.prompt) / len(row.answer) for row in pool])
    prompts = []
    for log_ratio in np.log(traced.input_tokens_R[chosen] / traced.output_tokens_R[chosen]):
        nearest = np.argsort(np.abs(longer_P - log_ratio), kind="stable")[:NEAREST]
        prompts.append(pool[rng.choice(nearest.tolist())])
    gaps_s = np.diff(traced.arrival_s_R, prepend=0.0)[chosen]
    times_s = np.cumsum(gaps_s)
    return prompts, (times_s / times_s[-1] * count / rate_per_s).tolist()
