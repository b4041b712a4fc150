"""When the first token comes with `stream: commit`, beside plain SGLang with the small model.

The same questions of the `steps` family, whose answers are long, go block by block to plain SGLang
and to the demo cascade, once committing and once buffered; who comes first changes from block to
block.

Example:
    python -m bench.serving.first_token           # writes bench/results/first_token.csv
    python -m bench.serving.first_token --smoke   # one block; writes nothing
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bench import RESULTS
from bench.harness.client import Reply, send_all
from bench.harness.estimates import Estimate, mean, median_ratio
from bench.harness.load import requests
from bench.harness.rows import facts_of_this_run, make_row, save_rows
from bench.harness.server import running_server
from cascadia_sglang.config.cascade_file import load_cascade, read_cascade
from demo.tasks.families import Row as Question
from demo.tasks.families import is_correct
from demo.tasks.splits import sample

CONFIG = Path("demo/cascade.yaml")
DEMO = load_cascade(CONFIG).routing
SMALL = "demo/models/small"
FLAGS = ("--max-running-requests", "128", "--log-level", "warning")
SEED = 20_272


@dataclass(slots=True)
class Way:
    """One way to ask: where, how, and what came of each question."""

    port: int
    headers: dict[str, str]
    replies: list[Reply] = field(default_factory=list)

    def ask(self, block: Sequence[Question], width: int) -> None:
        prompts = requests(block, stream_interval=1, headers=self.headers)
        self.replies.extend(send_all(self.port, prompts, width).replies)

    def first_ms(self, which: np.ndarray) -> list[float]:
        return [1000 * self.replies[index].first_byte_s for index in which]


def numbers(
    prompts: Sequence[Question], plain: Way, commit: Way, buffered: Way, block: int
) -> dict[str, tuple[str, Estimate]]:
    """Unit and value of every metric."""
    ends = [reply.json() for reply in commit.replies]
    stories: list[dict[str, Any]] = [end["meta_info"]["cascadia"] for end in ends]
    stayed = np.array([story["tier_index"] == 0 for story in stories])
    committed = np.array([story["attempts"][-1]["reason"] == "committed" for story in stories])
    right = np.array([is_correct(q, e["text"]) for q, e in zip(prompts, ends, strict=True)])
    whole = [reply.json()["text"] for reply in buffered.replies]
    right_whole = np.array([is_correct(q, text) for q, text in zip(prompts, whole, strict=True)])
    metrics: dict[str, tuple[str, Estimate]] = {
        "stayed_at_first_tier": ("1", mean(stayed.tolist())),
        "committed_before_end": ("1", mean(committed.tolist())),
        "committed_of_stayed": ("1", mean(committed[stayed].tolist())),
        "accuracy_of_committed": ("1", mean(right[committed].tolist())),
        "accuracy_of_the_same_buffered": ("1", mean(right_whole[committed].tolist())),
        "accuracy": ("1", mean(right.tolist())),
        "accuracy_buffered": ("1", mean(right_whole.tolist())),
    }
    difference = (right[committed].astype(float) - right_whole[committed]).tolist()
    metrics["accuracy_of_committed_less_buffered"] = ("1", mean(difference))
    medians: dict[str, list[float]] = {"plain": [], "commit": [], "buffered": []}
    for start in range(0, len(prompts), block):
        which = start + np.flatnonzero(stayed[start : start + block])
        for name, way in (("plain", plain), ("commit", commit), ("buffered", buffered)):
            medians[name].append(float(np.median(way.first_ms(which))))
    for name, values in medians.items():
        metrics[f"ttft_p50_{name}"] = ("ms", Estimate(p50=float(np.median(values)), n=len(values)))
    metrics["ttft_ratio_commit_to_plain"] = ("1", median_ratio(medians["commit"], medians["plain"]))
    metrics["ttft_ratio_buffered_to_plain"] = (
        "1",
        median_ratio(medians["buffered"], medians["plain"]),
    )
    return metrics


def config(folder: Path, tokens: int, chance: float) -> Path:
    """The demo's cascade with these settings of `commit`."""
    cascade = read_cascade(CONFIG).data
    cascade["routing"] |= {"commit_tokens": tokens, "commit_chance": chance}
    path = folder / "cascade.yaml"
    path.write_text(yaml.safe_dump(cascade))
    return path


def main() -> None:
    """Measure and write the rows."""
    parser = argparse.ArgumentParser(description="Time to first token with stream: commit.")
    parser.add_argument("--questions", type=int, default=800)
    parser.add_argument("--block", type=int, default=80)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--commit-tokens", type=int, default=DEMO.commit_tokens)
    parser.add_argument("--commit-chance", type=float, default=DEMO.commit_chance)
    parser.add_argument("--port", type=int, default=31500)
    parser.add_argument("--smoke", action="store_true", help="one block; write nothing")
    options = parser.parse_args()
    count = options.block if options.smoke else options.questions
    prompts = sample("test", SEED, count, ("steps",))
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder)
        path = config(logs, options.commit_tokens, options.commit_chance)
        cascade = ("--plugin", "cascadia", "--cascade-config", str(path), *FLAGS)
        alone = ("--model-path", SMALL, "--max-total-tokens", "65536", *FLAGS)
        with (
            running_server(cascade, port=options.port, log=logs / "cascade.log"),
            running_server(alone, port=options.port + 1, log=logs / "plain.log"),
        ):
            plain = Way(options.port + 1, {})
            commit = Way(options.port, {"x-cascadia-stream": "commit"})
            buffered = Way(options.port, {"x-cascadia-stream": "buffered"})
            ways = [plain, commit, buffered]
            for number, start in enumerate(range(0, count, options.block)):
                for way in ways[number % 3 :] + ways[: number % 3]:
                    way.ask(prompts[start : start + options.block], options.concurrency)
    values = numbers(prompts, plain, commit, buffered, options.block)
    for name, (unit, value) in values.items():
        interval = "" if value.low95 is None else f" [{value.low95:.3f}, {value.high95:.3f}]"
        print(f"{name}: {value.p50:.4g} {unit}{interval}, n {value.n}")
    if options.smoke:
        return
    case = (
        f"steps, concurrency {options.concurrency}, commit_tokens {options.commit_tokens}, "
        f"commit_chance {options.commit_chance:g}, commit_at_once {DEMO.commit_at_once:g}"
    )
    facts = facts_of_this_run("bench.serving.first_token")
    rows = [
        make_row(
            facts,
            bench="serving.first_token",
            case=case,
            variant="cascade and small alone",
            metric=name,
            unit=unit,
            value=value,
        )
        for name, (unit, value) in values.items()
    ]
    save_rows(RESULTS / "first_token.csv", rows)


if __name__ == "__main__":
    main()
