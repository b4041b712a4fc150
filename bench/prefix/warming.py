"""What warming the next tier's cache is worth, and what it costs where nothing can be warmed.

Chats over system messages of 620 to 860 tokens, no two alike, eight turns each, some at a time,
each turn some time after the answer to the one before. About a third of the answers escalates: the
threshold is the third of the scores in other such chats. Two servers, one that warms and one that
does not, are asked in turn, the same chats in every round; a first round, in which the warming
learns what escalates and what comes back, does not count. Measured are the seconds from the small
tier's answer to the large tier's first token, of the requests that escalate; what the workers
prefilled; and, on questions too short to warm, requests per second.

Example:
    python -m bench.prefix.warming                # writes bench/results/prefix_warming.csv
    python -m bench.prefix.warming --emulate      # on emulated devices
    python -m bench.prefix.warming --smoke        # one short round; writes nothing
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import RESULTS
from bench.harness.client import Reply, post, send_all
from bench.harness.estimates import Estimate, median_ratio, spread
from bench.harness.rows import Facts, Row, facts_of_this_run, make_row, save_rows
from bench.prefix.chats import TURNS, Chat, chats
from bench.prefix.serving import prefilled_tokens, serving, tier
from demo.tasks.families import MAX_ANSWER_TOKENS, TEST_FAMILIES
from demo.tasks.splits import sample

BENCH = "prefix.warming"
ARMS = ("off", "auto")
PROFILE = "bench/prefix/emulated.json"
# Prompts of less than a chunk, of which nothing is warmed.
SHORT = tuple(name for name in TEST_FAMILIES if name != "get")
ESCALATED = 1 / 3
CHUNK_TOKENS = 256
# Between an answer and the next turn; emulated devices are four times as slow as this host.
THINK_S, EMULATED_THINK_S = 0.5, 2.0
SEED = 70_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Rounds, chats a round, and how many of them at a time; short questions a round."""

    rounds: int
    chats: int
    at_once: int
    short: int


FULL = Size(rounds=5, chats=12, at_once=4, short=100)
EMULATED = Size(rounds=5, chats=12, at_once=6, short=100)
SMOKE = Size(rounds=1, chats=3, at_once=2, short=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """An answered turn.

    Attributes:
        first_s: from the small tier's answer to the large tier's first token; None where the small
            tier's was accepted.
        small_s: of the small tier's attempt, while which there was time to warm.
        cached_tokens: of the large tier's attempt, 0 without one.
    """

    first_s: float | None
    small_s: float
    cached_tokens: int
    right: bool


def configured(warm: str, threshold: float, emulated: bool) -> dict[str, Any]:
    """A small and a large tier, whose answers leave as soon as their tier is final."""
    config: dict[str, Any] = {
        "tiers": [tier("small"), tier("large")],
        "routing": {
            "thresholds": [threshold],
            "early_abort": None,
            "stream": "commit",
            "commit_tokens": MAX_ANSWER_TOKENS,
        },
        "prefix": {"warm": warm, "warm_chunk": CHUNK_TOKENS},
    }
    if emulated:
        config["planner"] = {"emulate": PROFILE}
    return config


def request_of(prompt: str) -> bytes:
    """A streamed request: its first byte is the first token of the tier that answers."""
    sampling = {"temperature": 0, "max_new_tokens": MAX_ANSWER_TOKENS}
    body = {"text": prompt, "sampling_params": sampling, "stream": True}
    return post("/generate", body)


def turn_of(reply: Reply, answer: str) -> Turn:
    """What became of a turn."""
    body = reply.json()
    first, *later = body["meta_info"]["cascadia"]["attempts"]
    return Turn(
        first_s=reply.first_byte_s - first["seconds"] if later else None,
        small_s=first["seconds"],
        cached_tokens=later[-1]["cached_tokens"] if later else 0,
        right=body["text"].strip() == answer,
    )


def talk(port: int, chat: Chat, think_s: float) -> list[Turn]:
    """All turns of a chat, one after the other."""
    turns = []
    for number in range(TURNS):
        time.sleep(think_s)
        (reply,) = send_all(port, [request_of(chat.prompt(number))], 1).replies
        turns.append(turn_of(reply, chat.answers[number]))
    return turns


def talk_all(port: int, some: Sequence[Chat], at_once: int, think_s: float) -> list[Turn]:
    """Some chats, so many at a time."""
    with ThreadPoolExecutor(at_once) as threads:
        return [
            turn
            for turns in threads.map(lambda chat: talk(port, chat, think_s), some)
            for turn in turns
        ]


def threshold_of(folder: Path, port: int, count: int) -> float:
    """The score below which a third of the small tier's answers in such chats lies."""
    config = configured("off", 0.0, emulated=False)
    scores = []
    with serving(folder, port, config) as ready:
        for chat in chats(SEED - 1, count):
            prompts = [request_of(chat.prompt(number)) for number in range(TURNS)]
            for reply in send_all(ready, prompts, 2).replies:
                scores.append(reply.json()["meta_info"]["cascadia"]["score"])
    return float(np.quantile(scores, ESCALATED))


def measure(size: Size, emulated: bool, folder: Path, port: int, facts: Facts) -> list[Row]:
    """All rounds, and their rows."""
    think_s = EMULATED_THINK_S if emulated else THINK_S
    threshold = threshold_of(folder, port, 4 * size.chats)
    print(f"threshold {threshold:.6f}", flush=True)
    turns: dict[str, list[list[Turn]]] = {arm: [] for arm in ARMS}
    tokens: dict[str, list[int]] = {arm: [] for arm in ARMS}
    rates: dict[str, list[float]] = {arm: [] for arm in ARMS}
    with ExitStack() as stack:
        ports = {}
        for number, arm in enumerate(ARMS):
            config = configured(arm, threshold, emulated)
            ports[arm] = stack.enter_context(serving(folder, port + number, config))
        for port_of_arm in ports.values():
            talk_all(port_of_arm, chats(SEED - 2, size.chats), size.at_once, think_s)
        for number in range(size.rounds):
            some = chats(SEED + number, size.chats)
            order = ARMS if number % 2 == 0 else ARMS[::-1]
            for arm in order:
                before = prefilled_tokens(ports[arm])
                turns[arm].append(talk_all(ports[arm], some, size.at_once, think_s))
                tokens[arm].append(prefilled_tokens(ports[arm]) - before)
            rows = sample("test", SEED + number, size.short, SHORT)
            short = [request_of(row.prompt) for row in rows]
            for arm in order:
                rates[arm].append(send_all(ports[arm], short, 16).requests_per_s)
            print(json.dumps(progress_of(turns, tokens, rates)), flush=True)
    return rows_of(turns, tokens, rates, emulated, facts)


def first_s(rounds: Sequence[Sequence[Turn]]) -> list[float]:
    """Of all requests that escalated."""
    return [turn.first_s for of_round in rounds for turn in of_round if turn.first_s is not None]


def split_by_need(turns: dict[str, list[list[Turn]]]) -> dict[str, list[tuple[Turn, Turn]]]:
    """The requests that escalated in both arms, each as (off, auto): those whose prefix the large
    tier did not hold without warming, and those whose it did."""
    both = [
        (off, auto)
        for offs, autos in zip(turns["off"], turns["auto"], strict=True)
        for off, auto in zip(offs, autos, strict=True)
        if off.first_s is not None and auto.first_s is not None
    ]
    return {
        "prefix missing there": [pair for pair in both if pair[0].cached_tokens < CHUNK_TOKENS],
        "prefix there": [pair for pair in both if pair[0].cached_tokens >= CHUNK_TOKENS],
    }


def progress_of(turns: Any, tokens: Any, rates: Any) -> dict[str, Any]:
    """The state so far, for whoever watches."""
    return {
        arm: {
            "escalated": len(first_s(turns[arm])),
            "mean_s": round(float(np.mean(first_s(turns[arm]) or [0.0])), 4),
            "prefilled": tokens[arm][-1],
            "short_per_s": round(rates[arm][-1], 2),
        }
        for arm in ARMS
    }


def rows_of(
    turns: dict[str, list[list[Turn]]],
    tokens: dict[str, list[int]],
    rates: dict[str, list[float]],
    emulated: bool,
    facts: Facts,
) -> list[Row]:
    """Each arm's numbers, and the ratios of warming to none, round by round."""
    case = "chats of 620 to 860 system tokens" + (", emulated device" if emulated else "")
    means = {arm: [float(np.mean(first_s([of_round]))) for of_round in turns[arm]] for arm in ARMS}
    medians = {
        arm: [float(np.median(first_s([of_round]))) for of_round in turns[arm]] for arm in ARMS
    }
    rows = []

    def add(variant: str, metric: str, unit: str, value: Estimate) -> None:
        rows.append(
            make_row(
                facts,
                bench=BENCH,
                case=case,
                variant=variant,
                metric=metric,
                unit=unit,
                value=value,
            )
        )

    for arm in ARMS:
        flat = [turn for of_round in turns[arm] for turn in of_round]
        add(f"warm: {arm}", "decision to first token, mean", "s", spread(means[arm]))
        add(f"warm: {arm}", "decision to first token, median", "s", spread(medians[arm]))
        add(f"warm: {arm}", "prefilled tokens a round", "1", spread(tokens[arm]))
        add(f"warm: {arm}", "short questions", "1/s", spread(rates[arm]))
        escalated = Estimate(p50=len(first_s(turns[arm])) / len(flat), n=len(flat))
        add(f"warm: {arm}", "escalated", "1", escalated)
        right = Estimate(p50=float(np.mean([turn.right for turn in flat])), n=len(flat))
        add(f"warm: {arm}", "accuracy", "1", right)
    for need, pairs in split_by_need(turns).items():
        if not pairs:
            continue
        for index, arm in enumerate(ARMS):
            of_arm = [pair[index] for pair in pairs]
            seconds = spread([turn.first_s or 0.0 for turn in of_arm])
            add(f"warm: {arm}", f"decision to first token, {need}", "s", seconds)
            average = Estimate(
                p50=float(np.mean([t.first_s or 0.0 for t in of_arm])), n=len(of_arm)
            )
            add(f"warm: {arm}", f"decision to first token, {need}, mean", "s", average)
            cached = spread([turn.cached_tokens for turn in of_arm])
            add(f"warm: {arm}", f"tokens the large tier held, {need}", "1", cached)
            small = spread([turn.small_s for turn in of_arm])
            add(f"warm: {arm}", f"the small tier's attempt, {need}", "s", small)
    for metric, values in (
        ("decision to first token, mean", means),
        ("decision to first token, median", medians),
        ("prefilled tokens a round", tokens),
        ("short questions", rates),
    ):
        ratio = median_ratio(values["auto"], values["off"])
        add("warm: auto / off", metric, "1", ratio)
        print(f"{metric}: {ratio.p50:.3f} [{ratio.low95:.3f}, {ratio.high95:.3f}]")
    return rows


def main() -> None:
    """Measure, and write the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=31700)
    parser.add_argument("--emulate", action="store_true", help="on emulated devices")
    parser.add_argument("--smoke", action="store_true", help="one short round; write nothing")
    options = parser.parse_args()
    facts = facts_of_this_run("bench.prefix.warming")
    size = SMOKE if options.smoke else EMULATED if options.emulate else FULL
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(size, options.emulate, Path(folder), options.port, facts)
    if not options.smoke:
        save_rows(RESULTS / "prefix_warming.csv", rows)


if __name__ == "__main__":
    main()
