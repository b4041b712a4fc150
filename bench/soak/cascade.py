"""The cascade under the soak, and the server that serves it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from bench import ROOT
from bench.harness.admin import KEY
from bench.harness.server import running_server
from bench.soak.changes import BUDGET

NGRAM = {"speculative_algorithm": "NGRAM", "speculative_num_draft_tokens": 8}
PROFILE = ROOT / "bench/planner/emulated.json"
# The first start ever compiles SGLang's corpus of n-grams.
START_S = 300.0


def config(folder: Path, state: Path) -> dict[str, Any]:
    """The demo's tiers, of which the last speculates and the middle one calibrates itself.

    Args:
        folder: takes the profile.
        state: keeps labels and calibrations.
    """
    profile = json.loads(PROFILE.read_text())
    names = ("small", "middle", "large")
    profile["limits"] = {name: {"kv_tokens": 16384, "max_running_requests": 32} for name in names}
    (folder / "profile.json").write_text(json.dumps(profile))
    models = ROOT / "demo/models"
    tiers = [
        {"name": name, "model_path": str(models / name), "server_args": {"max_total_tokens": 16384}}
        for name in names
    ]
    tiers[0] |= {"calibration": str(models / "small/calibration.json"), "replicas": 2}
    tiers[2]["server_args"] |= NGRAM
    return {
        "version": 1,
        "tiers": tiers,
        "routing": {"escalation_rate": [0.5, 0.5], "drafts": "auto"},
        "judge": {"label_rate": 0.3},
        "planner": {
            "enabled": True,
            "gpu_budget": BUDGET,
            "profile": str(folder / "profile.json"),
            "interval_s": 20.0,
            "deadline_s": 15.0,
        },
        "state": str(state),
    }


def temporary_folder(folder: Path) -> Path:
    """The folder for temporary files of the server that has this folder."""
    return folder / "tmp"


@contextmanager
def serving(folder: Path, state: Path, port: int) -> Iterator[Path]:
    """Serve it; yields the log."""
    temporary_folder(folder).mkdir()
    environment = {"TMPDIR": str(temporary_folder(folder))}
    path = folder / "cascade.yaml"
    path.write_text(yaml.safe_dump(config(folder, state)))
    log = folder / "server.log"
    flags = (
        *("--plugin", "cascadia", "--cascade-config", str(path), "--enable-metrics"),
        *("--admin-api-key", KEY, "--tool-call-parser", "qwen"),
    )
    with running_server(flags, port=port, log=log, start_s=START_S, environment=environment):
        yield log
