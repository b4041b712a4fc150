"""`make serve` on hosts with and without accelerators, up to the launch of each worker."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cascadia_sglang.memory.runtime import CONTEXT_BYTES, reserve_bytes
from tests.repo.source import ROOT
from tests.system.serving import free_port

H100_MIB = 81_559
DEMO = "demo/cascade.yaml"


def launched(cards: int, cascade: str | Path) -> list[dict[str, Any]]:
    """How the workers of a server are started, and in which order they wait for each other."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.unit.memory.faked_cards", str(cards), str(H100_MIB)),
            *("--plugin", "cascadia", "--cascade-config", str(cascade)),
            *("--port", str(free_port())),
        ],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "FAKED_CARDS_MARK": "of this process"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("LAUNCHED ")]
    assert lines, f"{done.stdout}\n{done.stderr[-3000:]}"
    rows: list[dict[str, Any]] = json.loads(lines[0].removeprefix("LAUNCHED "))
    return rows


def row(worker: str, device: int, share: float | None, fraction: float, **more: Any) -> dict:
    """What is expected of a worker on an accelerator."""
    gigabytes = None if share is None else (share * H100_MIB * 2**20 - CONTEXT_BYTES) / 1e9
    return {
        "worker": worker,
        "device": device,
        "step": 1,
        "ranks": 1,
        "platform": "cuda",
        "mem_fraction_static": fraction,
        "share": share,
        "share_gb": None if gigabytes is None else round(gigabytes, 1),
        "host_gb": None,
        "cores": None,
        "mark": "of this process",
        **more,
    }


BY_CARDS: dict[int, list[dict[str, Any]]] = {
    1: [
        row("small-0", 0, 0.107, 0.534, chunked_prefill_size=2048, captured_rows=8),
        {"ready": "small-0"},
        row("middle-1", 0, 0.205, 0.757, chunked_prefill_size=2048, captured_rows=8),
        {"ready": "middle-1"},
        row("large-2", 0, 0.687, 0.871, chunked_prefill_size=4096, captured_rows=32),
        {"ready": "large-2"},
    ],
    2: [
        row("small-0", 1, 0.298, 0.7, chunked_prefill_size=4096, captured_rows=48),
        row("large-1", 0, None, 0.83, chunked_prefill_size=8192, captured_rows=256),
        {"ready": "small-0"},
        row("middle-2", 1, 0.701, 0.873, chunked_prefill_size=4096, captured_rows=32),
        {"ready": "large-1"},
        {"ready": "middle-2"},
    ],
    8: [
        row("small-0", 0, None, 0.83, chunked_prefill_size=8192, captured_rows=256),
        row("middle-1", 1, None, 0.83, chunked_prefill_size=8192, captured_rows=256),
        row("large-2", 2, None, 0.83, chunked_prefill_size=8192, captured_rows=256),
        {"ready": "small-0"},
        {"ready": "middle-1"},
        {"ready": "large-2"},
    ],
}


@pytest.mark.parametrize(
    "cards", [pytest.param(n, marks=[pytest.mark.slow] if n > 1 else []) for n in BY_CARDS]
)
def test_the_demo_starts_on_cards(cards: int) -> None:
    starts = launched(cards, DEMO)
    assert starts == BY_CARDS[cards]
    for start in starts:
        if start.get("share") is not None:
            # What a file is checked by is what SGLang keeps free.
            size = start["share"] * H100_MIB * 2**20
            assert reserve_bytes(size, 1, 1) / size == pytest.approx(
                1 - start["mem_fraction_static"], abs=0.001
            )


@pytest.mark.slow
def test_the_demo_starts_without_a_card() -> None:
    starts = launched(0, DEMO)
    assert [start["ready"] for start in starts[3:]] == ["small-0", "middle-1", "large-2"]
    for start in starts[:3]:
        assert (start["platform"], start["share"], start["ranks"]) == ("cpu", None, 1)
        assert start["host_gb"] == "of the host"
        assert 0.0 < start["mem_fraction_static"] < 0.25
        assert start["mark"] == "of this process"


@pytest.mark.slow
def test_a_file_says_devices_and_shares(tmp_path: Path) -> None:
    file_lines = f"""
version: 1
tiers:
  - name: small
    model_path: {ROOT}/demo/models/small
    calibration: {ROOT}/demo/models/small/calibration.json
    devices: [3]
    gpu_share: 0.25
  - name: large
    model_path: {ROOT}/demo/models/large
    devices: [3, 4, 5, 6]
    replicas: 2
    gpu_share: 0.5
    server_args: {{tp_size: 2}}
routing:
  thresholds: [0.9]
"""
    file = tmp_path / "cascade.yaml"
    file.write_text(file_lines)
    starts = launched(8, file)
    places = [
        start.get("ready") or (start["worker"], start["device"], start["ranks"], start["share"])
        for start in starts
    ]
    assert places == [
        ("small-0", 3, 1, 0.25),
        ("large-1", 5, 2, 0.5),
        "small-0",
        ("large-2", 3, 2, 0.5),
        "large-1",
        "large-2",
    ]
