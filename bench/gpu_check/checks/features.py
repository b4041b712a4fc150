"""Scores and right answers of a served tier beside what the CPU makes of the same questions.

The reference decodes the same model on the CPU in float32 and scores its answers by the same
calibration. What differs is the device: its arithmetic, its kernels, and the steps of its batches.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch

from bench.gpu_check.checks.answers import accuracy, ask, failed, questions
from bench.gpu_check.checks.servers import Server, for_each, model
from bench.gpu_check.results import Check
from bench.harness.estimates import spread
from cascadia_sglang.judge.calibration import ScoreModel, load_calibration
from demo.calibrate.observe import observe

MODEL = "small"
DTYPES = ("bfloat16", "float32")
DRY_DTYPES = ("float32",)
WIDTH = 32
MOST_MEDIAN_DRIFT = {"bfloat16": 0.02, "float32": 0.001}
MOST_ACCURACY_LOSS = {"bfloat16": 0.05, "float32": 0.02}


def run(check: Check) -> bool:
    """One server a type of the weights; then the reference."""
    rows = questions(24 if check.dry else 200, shift=2)
    dtypes = DRY_DTYPES if check.dry else DTYPES
    servers = [Server(name=dtype, config=cascade(dtype)) for dtype in dtypes]
    answers = for_each(check, servers, lambda _, port: ask(port, rows, WIDTH))
    torch.set_num_threads(1 if check.dry else 8)
    observation = observe(Path(model(MODEL)), rows)
    score = ScoreModel(load_calibration(Path(model(MODEL)) / "calibration.json"))
    expected = [score.score(features_F) for features_F in observation.features()]
    right = float(observation.correct_N.mean())
    check.number(MODEL, "CPU, float32", "accuracy", "1", right)
    passed = []
    for dtype, replies in zip(dtypes, answers, strict=True):
        if replies is None:
            passed.append(False)
            continue
        errors = failed(replies)
        scores = [reply.attempts[0]["score"] if reply.attempts else None for reply in replies]
        pairs = [(a, b) for a, b in zip(scores, expected, strict=True) if a is not None]
        drift = sorted(abs(a - b) for a, b in pairs if math.isfinite(b)) or [math.inf]
        right_share = accuracy(rows, replies)
        check.number(MODEL, dtype, "accuracy", "1", right_share)
        check.number(MODEL, dtype, "score beside the CPU's", "1", spread(drift))
        check.number(MODEL, dtype, "score beside the CPU's, largest", "1", drift[-1])
        passed += [
            check.passes(f"{dtype}: every request was answered", not errors, failed=len(errors)),
            check.passes(f"{dtype}: every answer has a score", len(pairs) == len(rows)),
            check.passes(
                f"{dtype}: the median score is the CPU's",
                drift[len(drift) // 2] <= MOST_MEDIAN_DRIFT[dtype],
                median=drift[len(drift) // 2],
                allowed=MOST_MEDIAN_DRIFT[dtype],
            ),
            check.passes(
                f"{dtype}: answers are as often right",
                right_share >= right - MOST_ACCURACY_LOSS[dtype],
                here=right_share,
                cpu=right,
            ),
        ]
    return all(passed)


def cascade(dtype: str) -> dict[str, object]:
    """A tier that is scored and answers everything, in the worker of the tier above."""
    tier = {
        "model_path": model(MODEL),
        "server_args": {"max_total_tokens": 65536, "dtype": dtype},
    }
    first = {"name": "first", **tier, "calibration": f"{model(MODEL)}/calibration.json"}
    return {
        "tiers": [first, {"name": "second", **tier}],
        "routing": {"thresholds": [0.0], "early_abort": None},
    }
