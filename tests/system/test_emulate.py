"""Two real workers on one emulated device: each is half as fast as the device."""

import json
import math
import statistics
import threading
import time

import pytest

from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.profiling.steps import read_steps
from cascadia_sglang.worker.step_log import STEP_LOG_FOLDER
from tests.system.serving import start

pytestmark = [pytest.mark.sglang, pytest.mark.slow, pytest.mark.alone]

STEP_MS = 25.0
TOKENS = 80


def test_two_workers_on_one_device_serve_half_each(tmp_path):
    times = {"decode_ms": [[1, STEP_MS], [64, STEP_MS]], "prefill_ms": [[1, STEP_MS]]}
    profile = tmp_path / "profile.json"
    content = {"version": 1, "device": "made up", "tiers": {"only": times}}
    profile.write_text(json.dumps(content))
    cascade = tmp_path / "cascade.json"
    tier = {
        "name": "only",
        "model_path": "demo/models/small",
        "replicas": 2,
        "server_args": {"max_total_tokens": 16384},
    }
    planner = {"emulate": str(profile), "gpu_budget": 1}
    config = {"version": 1, "tiers": [tier], "planner": planner}
    cascade.write_text(json.dumps({**config, "judge": {"record": True}}))
    server = start(
        tmp_path,
        "--plugin",
        "cascadia",
        "--cascade-config",
        str(cascade),
        environment={STEP_LOG_FOLDER: str(tmp_path)},
    )
    steps_per_s: list[float] = []
    records: list[dict] = []

    def ask(prompt: str) -> None:
        params = {"temperature": 0, "max_new_tokens": TOKENS, "ignore_eos": True}
        started = time.monotonic()
        with server.client() as client:
            body = {"text": prompt, "sampling_params": params}
            reply = client.post("/generate", json=body).json()
        assert reply["meta_info"]["completion_tokens"] == TOKENS
        (attempt,) = reply["meta_info"]["cascadia"]["attempts"]
        records.append(attempt["record"])
        steps_per_s.append(TOKENS / (time.monotonic() - started))

    try:
        server.wait_until_ready()
        threads = [threading.Thread(target=ask, args=(prompt,)) for prompt in ("rev ab", "rev cd")]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + TOKENS * STEP_MS / 1000
        busy: list[int] = []
        while busy != [1, 1] and time.monotonic() < deadline:
            busy = [worker["running"] for worker in server.status()["workers"]]
        for thread in threads:
            thread.join(60)
    finally:
        server.stop()
    assert busy == [1, 1]
    # The workers' own log of their steps says the same.
    steps = [step for step in read_steps(tmp_path, "only").steps if step.is_decode]
    assert len(steps) >= TOKENS - 2
    assert 2 * STEP_MS <= 1000 * statistics.median(step.seconds for step in steps) < 2.5 * STEP_MS
    half = 1000 / STEP_MS / 2
    assert len(steps_per_s) == 2
    for rate in steps_per_s:
        assert 0.8 * half < rate <= 1.02 * half
    for record in records:  # the server records, so no calibration is needed to see features
        assert record["tokens"] == [2, 4, 8, 16, 32, 64, TOKENS]
        rows = [dict(zip(FEATURES, row, strict=True)) for row in record["features"]]
        assert [row["log_tokens"] for row in rows] == [math.log(n) for n in record["tokens"]]
        assert [row["truncated"] for row in rows] == [0.0] * 6 + [1.0]
        assert all(row["sum_logprob"] < 0.0 for row in rows)
