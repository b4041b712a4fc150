"""Whether answers with drafts of other tokenizers differ from those without only at near ties.

Every question is asked of the largest tier alone, of the cascade, in which each tier reads the
answer of the tier before, and once more of the largest alone. Where two answers part, the largest
tier says how much likelier its best token is than each of the two. The same of all places of its
answers stands beside. Answers are greedy; no tier has a score that would accept one.

Example:
    python -m bench.drafts.ladder --tiny PATH --small PATH --large PATH   # ... of three models;
                                        # writes bench/results/drafts_ladder.csv
    python -m bench.drafts.ladder --smoke   # the demo's models, or those given; writes nothing
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bench import RESULTS
from bench.drafts.near_ties import Scored, first_difference, scored
from bench.harness.client import post, send_all
from bench.harness.estimates import Estimate, mean
from bench.harness.rows import CaseRows, Facts, facts_of_this_run, save_rows
from bench.real.question_sets import SETS, Question, question_set
from cascadia_sglang.calibration.record.server import recording_server
from cascadia_sglang.config.cascade_file import load_uncalibrated
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.messages import EVERY_TOKEN

TIERS = ("tiny", "small", "large")
DEMO = {"small": "demo/models/small", "large": "demo/models/large"}
# Between 16 and 32, where the best logits of such models lie, numbers of bfloat16 are 1/8 apart.
SPACING = 0.125
BOUND = 4 * SPACING
CONCURRENCY = 8
QUESTIONS, SMOKE_QUESTIONS = 150, 4
SERVER_FLAGS = ("--max-total-tokens", "32768", "--log-level", "warning")
START_S = 600.0
ALONE = {"x-cascadia-tier": TIERS[-1]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """An answer of the largest tier.

    Attributes:
        kept: tokens of the draft in it; None where it read none.
    """

    token_ids: tuple[int, ...]
    kept: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parted:
    """Two answers to a question that differ.

    Attributes:
        index: of the first token that differs.
        gap: of the best token to the less likely one of the two, in nats.
    """

    question: str
    index: int
    gap: float


def ladder(paths: Mapping[str, str], folder: Path) -> CascadeConfig:
    """A cascade of these models that records what is written, and in which all tiers read."""
    path = folder / "cascade.json"
    tiers = [
        {"name": name, "model_path": str(Path(paths[name]).resolve())}
        for name in TIERS
        if name in paths
    ]
    path.write_text(json.dumps({"version": 1, "tiers": tiers, "routing": {"drafts": "on"}}))
    config = load_uncalibrated(path)
    return msgspec.structs.replace(
        config, judge=msgspec.structs.replace(config.judge, record=EVERY_TOKEN)
    )


def answers(
    port: int, questions: Sequence[Question], headers: Mapping[str, str] | None = None
) -> list[Written]:
    """What the largest tier writes.

    Raises:
        RuntimeError: if a question ends at another tier.
    """
    requests = [
        post(
            "/v1/chat/completions",
            {
                "model": "cascadia",
                "messages": question.messages,
                "temperature": 0,
                "max_tokens": question.max_tokens,
                "return_meta_info": True,
            },
            headers,
        )
        for question in questions
    ]
    written = []
    replies = send_all(port, requests, CONCURRENCY).replies
    for question, reply in zip(questions, replies, strict=True):
        [choice] = reply.json()["choices"]
        attempt = choice["meta_info"]["cascadia"]["attempts"][-1]
        if attempt["tier"] != TIERS[-1]:
            raise RuntimeError(f"{question.id} ended at {attempt['tier']}: {attempt['reason']}")
        written.append(Written(token_ids=tuple(attempt["output_ids"]), kept=attempt.get("kept")))
    return written


def rated(port: int, question: Question, answer: Sequence[int], tokens: Sequence[int]) -> Scored:
    """An answer as the largest tier rates it, with some tokens at every place."""
    named = {"model": TIERS[-1], "messages": question.messages}
    [prompt] = send_all(port, [post("/tokenize", named)], 1).replies
    prompt_ids = prompt.json()["tokens"]
    body: dict[str, Any] = {
        "input_ids": [*prompt_ids, *answer],
        "sampling_params": {"max_new_tokens": 1, "temperature": 0},
        "return_logprob": True,
        "logprob_start_len": len(prompt_ids) - 1,
        "top_logprobs_num": 2,
        "token_ids_logprob": sorted(set(tokens)),
    }
    [reply] = send_all(port, [post("/generate", body, ALONE)], 1).replies
    return scored(answer, reply.json()["meta_info"])


def parted(
    port: int,
    questions: Sequence[Question],
    alone: Sequence[Written],
    other: Sequence[Written],
) -> list[Parted]:
    """Where answers differ from those written alone, and how near a tie that is.

    An answer that ends where the other goes on is infinitely far from a tie: an end is a token too.
    """
    differing = []
    for question, first, second in zip(questions, alone, other, strict=True):
        index = first_difference(first.token_ids, second.token_ids)
        if index is None:
            continue
        gap = float("inf")
        if index < min(len(first.token_ids), len(second.token_ids)):
            tokens = [first.token_ids[index], second.token_ids[index]]
            gap = rated(port, question, first.token_ids, tokens).gap_to(index, tokens)
        differing.append(Parted(question=question.id, index=index, gap=gap))
        print(f"{question.id}: other from token {index} on, {gap:.4f} nats from the best")
    return differing


def add_rows(rows: CaseRows, variant: str, differing: Sequence[Parted], answered: int) -> None:
    """How many answers differ, and how near ties these are."""
    is_other = [1.0] * len(differing) + [0.0] * (answered - len(differing))
    rows.add(variant, "answers that differ from the tier's own", "1", mean(is_other))
    if differing:
        count = len(differing)
        largest = max(parted.gap for parted in differing)
        near = sum(parted.gap <= BOUND for parted in differing)
        rows.add(variant, "largest gap where they part", "nat", Estimate(p50=largest, n=count))
        rows.add(variant, f"of them within {BOUND:g} nat", "1", Estimate(p50=near / count, n=count))


def measure(paths: Mapping[str, str], questions: Sequence[Question], facts: Facts) -> CaseRows:
    """All rows of a ladder."""
    models = ", ".join(Path(paths[name]).name for name in TIERS if name in paths)
    rows = CaseRows(facts, "drafts.ladder", f"{models}; {len(questions)} questions")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = ladder(paths, folder)
        with recording_server(config, folder, SERVER_FLAGS, START_S) as port:
            alone = answers(port, questions, ALONE)
            drafted = answers(port, questions)
            again = answers(port, questions, ALONE)
            gaps = [
                gap
                for question, answer in zip(questions, alone, strict=True)
                for gap in rated(port, question, answer.token_ids, answer.token_ids).gaps
            ]
            by_drafts = parted(port, questions, alone, drafted)
            by_itself = parted(port, questions, alone, again)
    read = [answer for answer in drafted if answer.kept is not None]
    kept_tokens = sum(answer.kept or 0 for answer in read)
    of_read = sum(len(answer.token_ids) for answer in read)
    is_read = mean([float(answer.kept is not None) for answer in drafted])
    rows.add("with drafts", "answers that read one", "1", is_read)
    if of_read:
        share = Estimate(p50=kept_tokens / of_read, n=len(read))
        rows.add("with drafts", "of answers: kept", "1", share)
    add_rows(rows, "with drafts", by_drafts, len(questions))
    add_rows(rows, "the tier alone, again", by_itself, len(questions))
    near = float(np.mean(np.array(gaps) <= BOUND))
    rows.add("the tier alone", f"places within {BOUND:g} nat", "1", Estimate(p50=near, n=len(gaps)))
    return rows


def main() -> None:
    """Measure, and write the rows."""
    parser = argparse.ArgumentParser(description="Near ties where drafts make a difference.")
    for tier in TIERS:
        parser.add_argument(f"--{tier}", help=f"folder of the {tier} model")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["short", "reasoning"])
    parser.add_argument(
        "--questions", type=int, default=QUESTIONS, help="of each set; default: %(default)s"
    )
    parser.add_argument("--smoke", action="store_true", help="few questions; writes nothing")
    args = parser.parse_args()
    paths = {tier: getattr(args, tier) for tier in TIERS if getattr(args, tier)}
    if args.smoke and not paths:
        paths = DEMO
    if TIERS[-1] not in paths or len(paths) < 2:
        parser.error("--large is needed, and --tiny, --small or both: folders of models")
    count = SMOKE_QUESTIONS if args.smoke else args.questions
    questions = [question for name in args.sets for question in question_set(name, count)]
    rows = measure(paths, questions, facts_of_this_run("bench.drafts.ladder")).rows
    if not args.smoke:
        save_rows(RESULTS / "drafts_ladder.csv", rows)


if __name__ == "__main__":
    main()
