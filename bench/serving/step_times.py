"""Measures how long each tier's forwards take here and writes them as a profile.

Each tier is served by plain SGLang, alone. A decoding step's time is the slope of the latency over
the number of tokens, so that what a request costs besides its steps falls out; a prefill's is the
latency of one token after a fresh prompt.

Example:
    python -m bench.serving.step_times --out profile.json
    python -m bench.serving.step_times --smoke          # small sizes; writes nothing
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
from pathlib import Path
from random import Random

import msgspec
import yaml

from bench.harness.client import post, send_all
from bench.harness.rows import machine
from bench.harness.server import running_server
from cascadia_sglang.planner.profile import Profile, StepTimes

FEW, MANY = 8, 40  # tokens of the two answers whose latencies give a slope
REPEATS = 5
FLAGS = ("--max-total-tokens", "65536", "--max-running-requests", "128", "--log-level", "warning")


class Prompts:
    """Prompts that no cache has seen."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def fresh(self, characters: int) -> str:
        letters = Random(next(self._numbers)).choices("abcdefghij", k=characters)
        return "".join(letters)


def _seconds(port: int, prompts: list[str], tokens: int) -> float:
    """Until the last of these answers of `tokens` tokens, all asked for at once, is there."""
    sampling = {"temperature": 0, "max_new_tokens": tokens, "ignore_eos": True}
    sent = [post("/generate", {"text": text, "sampling_params": sampling}) for text in prompts]
    return send_all(port, sent, len(sent)).seconds


def step_times(port: int, rows: list[int], tokens: list[int], repeats: int) -> StepTimes:
    """Medians over repeats, in milliseconds."""
    prompts = Prompts()
    decode, prefill = [], []
    for count in rows:
        slopes = []
        for _ in range(repeats):
            few, many = (
                _seconds(port, [prompts.fresh(12) for _ in range(count)], length)
                for length in (FEW, MANY)
            )
            slopes.append(1000 * (many - few) / (MANY - FEW))
        decode.append((count, round(max(statistics.median(slopes), 0.001), 4)))
    for size in tokens:
        seconds = [_seconds(port, [prompts.fresh(size - 1)], 1) for _ in range(repeats)]
        prefill.append((size, round(1000 * statistics.median(seconds), 4)))
    return StepTimes(decode_ms=decode, prefill_ms=prefill)


def main() -> None:
    """Measure every tier of a cascade file and write the profile."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=Path("bench/ladder/cascade.yaml"))
    parser.add_argument("--out", type=Path, default=Path("bench/results/profile.json"))
    parser.add_argument("--port", type=int, default=31000)
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    rows, tokens, repeats = [1, 8, 32, 64], [32, 128, 512, 1024], REPEATS
    if args.smoke:
        rows, tokens, repeats = [1, 4], [32], 1
    tiers = {}
    for tier in yaml.safe_load(args.config.read_text())["tiers"]:
        print(tier["name"], file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as logs:
            flags = ("--model-path", tier["model_path"], *FLAGS)
            log = Path(logs) / "server.log"
            with running_server(flags, port=args.port, log=log) as port:
                step_times(port, rows, tokens[:1], 1)  # warms it up
                tiers[tier["name"]] = step_times(port, rows, tokens, repeats)
    profile = Profile(version=1, device=f"one worker on {machine()}", tiers=tiers)
    text = json.dumps(msgspec.to_builtins(profile), indent=1)
    print(text)
    if not args.smoke:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
