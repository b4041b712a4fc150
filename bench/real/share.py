"""The share that climbs, and how well it is chosen: two real models, two paths and no other flag.

The official OpenAI client streams every question, in the order of the mixes. What it gets is kept
first, so that `--again` reports on it without asking.

Example:
    python -m bench.real.share --small PATH --large PATH   # writes bench/results/real.{csv,md}
    python -m bench.real.share --small PATH --large PATH --again
    python -m bench.real.share --smoke   # the demo's models, or those given; writes nothing
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai

from bench import RESULTS
from bench.harness.ranks import ranks
from bench.harness.rows import facts_of_this_run, save_rows
from bench.real.observe import CACHE, DEMO, SMOKE_MIX_SIZE
from bench.real.observed import TIERS, load_observed
from bench.real.questions import MAX_TOKENS, RealQuestion, questions
from bench.real.shares.measures import measure
from bench.real.shares.replies import Reply, load_replies, save_replies
from bench.real.shares.report import page, rows
from cascadia_sglang.processes.child_server import running_server

IN_FLIGHT = 8
START_S = 600.0
REPLIES = CACHE / "replies.jsonl"
PROGRESS_EVERY = 50
DEMO_FLAGS = ("--cascade-thresholds", "0.8")


def ask(client: openai.OpenAI, question: RealQuestion) -> Reply:
    """Stream one answer."""
    started = time.monotonic()
    raw = client.chat.completions.with_raw_response.create(
        model="cascadia",
        messages=question.messages,
        temperature=0.0,
        max_tokens=MAX_TOKENS,
        stream=True,
        # An answer that is held back keeps its headers until it is there.
        extra_headers={"x-cascadia-keep-alive": "0"},
    )
    parts = [c.choices[0].delta.content or "" for c in raw.parse() if c.choices]
    score = raw.headers.get("x-cascadia-score")
    return Reply(
        id=question.id,
        tier=raw.headers["x-cascadia-tier"],
        score=None if score is None else float(score),
        text="".join(parts),
        seconds=time.monotonic() - started,
    )


def ask_all(port: int, questions: Sequence[RealQuestion]) -> list[Reply]:
    """Every answer, in the order of the questions, a fixed number under way at a time."""
    replies: list[Reply] = []
    started = time.monotonic()
    with (
        openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none") as client,
        ThreadPoolExecutor(IN_FLIGHT) as pool,
    ):
        for reply in pool.map(lambda question: ask(client, question), questions):
            replies.append(reply)
            if len(replies) % PROGRESS_EVERY == 0 or len(replies) == len(questions):
                climbed = sum(r.tier == TIERS[-1] for r in replies[-PROGRESS_EVERY:])
                seconds = time.monotonic() - started
                print(
                    f"{len(replies)} of {len(questions)} answers in {seconds:.0f} s; "
                    f"{climbed} of the last {min(len(replies), PROGRESS_EVERY)} climbed",
                    file=sys.stderr,
                    flush=True,
                )
    return replies


def serve(
    paths: dict[str, str], port: int, questions: Sequence[RealQuestion], flags: Sequence[str] = ()
) -> list[Reply]:
    """Start the command, ask everything, stop it."""
    tiers = ",".join(f"{tier}={paths[tier]}" for tier in TIERS)
    command = ["--plugin", "cascadia", "--cascade-tiers", tiers, *flags]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        # Nothing is asked of a model hub; all else is as an operator has it.
        offline = {"HF_HUB_OFFLINE": "1"}
        with running_server(command, port=port, log=log, start_s=START_S, environment=offline):
            return ask_all(port, questions)


def main() -> None:
    """Ask, keep the replies, report."""
    parser = argparse.ArgumentParser(description="The share that climbs with two real models.")
    for tier in TIERS:
        parser.add_argument(f"--{tier}", help=f"folder of the {tier} model")
    parser.add_argument("--port", type=int, default=31600)
    parser.add_argument("--again", action="store_true", help="report on the last run's replies")
    parser.add_argument("--smoke", action="store_true", help="a few prompts; writes nothing")
    args = parser.parse_args()
    is_given = bool(args.small and args.large)
    paths = {"small": args.small, "large": args.large} if is_given else DEMO
    if args.smoke:
        real_questions = questions(mix_size=SMOKE_MIX_SIZE)
        for reply in serve(paths, args.port, real_questions, () if is_given else DEMO_FLAGS):
            print(reply)
        return
    if not is_given:
        parser.error("--small and --large are needed: folders of two models of one tokenizer")
    real_questions = questions()
    # Read before the run, so that a missing file is told at once.
    observed = load_observed(real_questions)
    if not args.again:
        save_replies(REPLIES, serve(paths, args.port, real_questions))
    replies = load_replies(REPLIES, real_questions)
    facts = facts_of_this_run("bench.real.share")
    case = " and ".join(Path(path).name for path in paths.values())
    measures = measure(real_questions, replies, observed, ranks(observed["small"].features_NF))
    save_rows(RESULTS / "real.csv", rows(measures, facts, case))
    text = page(measures, facts, case)
    (RESULTS / "real.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
