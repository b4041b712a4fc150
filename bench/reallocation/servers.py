"""A cascade of a small and a large tier on four devices, and its admin routes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from bench.harness.admin import KEY, ask
from bench.harness.client import post, send_all
from bench.harness.server import running_server
from demo.tasks.families import MAX_ANSWER_TOKENS, Row
from demo.tasks.splits import sample

PROFILE = Path("bench/reallocation/emulated.json")
DEVICES = 4
THRESHOLD = 0.85
# Kernels that a worker keeps, one a shape, so that several servers fit one machine for an hour.
ENVIRONMENT = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64"}
# Replicas of the small tier; the large one has the rest.
Split = int


def scaled_profile(folder: Path, slower: Mapping[str, float]) -> Path:
    """The profile with each tier's times so many times as long."""
    profile = json.loads(PROFILE.read_text())
    for tier, times in profile["tiers"].items():
        for name in ("decode_ms", "prefill_ms"):
            times[name] = [[size, ms * slower[tier]] for size, ms in times[name]]
    path = folder / "profile.json"
    path.write_text(json.dumps(profile))
    return path


@contextmanager
def cascade(
    folder: Path,
    port: int,
    split: Split,
    *,
    profile: Path | None,
    threshold: float = THRESHOLD,
    running: Mapping[str, int] | None = None,
    planner: Mapping[str, Any] | None = None,
    gears: Mapping[str, Any] | None = None,
) -> Iterator[int]:
    """Serve it; yields the port.

    Args:
        profile: of the emulated devices; None for workers at the host's own speed.
        running: requests that a tier's worker runs at once, where not 32.
        planner, gears: settings above those that every arm has.
    """
    config = yaml.safe_load(Path("tests/system/cascade.yaml").read_text())
    for tier, replicas in zip(config["tiers"], (split, DEVICES - split), strict=True):
        most = (running or {}).get(tier["name"], 32)
        limits = {"max_total_tokens": 16384, "max_running_requests": most}
        tier |= {"replicas": replicas, "server_args": limits}
    config["routing"] = {"thresholds": [threshold], "gears": dict(gears or {})}
    config["planner"] = {"gpu_budget": DEVICES, **(planner or {})}
    if profile is not None:
        config["planner"]["emulate"] = str(profile)
    path = folder / f"cascade-{port}.yaml"
    path.write_text(yaml.safe_dump(config))
    flags = ("--plugin", "cascadia", "--cascade-config", str(path), "--admin-api-key", KEY)
    quiet = ("--log-level", "warning")
    log = folder / f"server-{port}.log"
    with running_server((*flags, *quiet), port=port, log=log, environment=ENVIRONMENT) as ready:
        yield ready


def set_split(port: int, split: Split) -> dict[str, Any]:
    """Move to this split; the plan in force, and how it went.

    Raises:
        RuntimeError: if it was refused or undone.
    """
    tiers = {"small": {"replicas": split}, "large": {"replicas": DEVICES - split}}
    return ask(port, "POST", "/cascadia/plan", {"tiers": tiers})


def plan(port: int) -> dict[str, Any]:
    """The plan in force."""
    return ask(port, "GET", "/cascadia/plan")


def requests_of(rows: list[Row]) -> list[bytes]:
    """Greedy requests to the native route."""
    params = {"temperature": 0, "max_new_tokens": MAX_ANSWER_TOKENS}
    return [post("/generate", {"text": row.prompt, "sampling_params": params}) for row in rows]


def saturation_per_s(port: int, families: tuple[str, ...], waiting: int, seed: int) -> float:
    """Requests per second with `waiting` of them under way all the time.

    By Little's law, from the latency of those that began and ended while no connection was idle,
    so that the beginning and the end of the loop do not count.
    """
    rows = sample("test", seed, 4 * waiting, families)
    sent = send_all(port, requests_of(rows), waiting)
    full = [reply.seconds for reply in sent.replies[waiting : 3 * waiting]]
    return waiting * len(full) / sum(full)
