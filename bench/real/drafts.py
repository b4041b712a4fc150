"""What a smaller model's answer saves the larger one: written anew, read as a prefix, found again.

A server of the larger model alone gets the same questions in each way. In every round it is started
once for each way, in turns, so that one model has to fit into memory. Each question comes with the
smaller model's recorded answer as its `prediction`, so that only the larger model's work counts.
Of the recorded answers, those take part that the built-in rank puts last: they would escalate.
Caches, the corpus of the n-grams among them, are emptied before every round.

Example:
    python -m bench.real.drafts --small PATH --large PATH    # writes bench/results/real_drafts.csv
    python -m bench.real.drafts --smoke   # the demo's models, or those given; writes nothing
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench import RESULTS
from bench.harness.admin import KEY, flush_caches
from bench.harness.admin import ask as ask_admin
from bench.harness.client import post, send_all
from bench.harness.estimates import Estimate, median_ratio, spread, sum_ratio
from bench.harness.ranks import ranks
from bench.harness.rows import CaseRows, Facts, Row, facts_of_this_run, save_rows
from bench.real.answers import STORED, StoredAnswer, load_answers
from bench.real.question_sets import SETS, question_set
from cascadia_sglang.processes.child_server import running_server
from demo.tasks.splits import sample

WINDOW = 16
ANEW, PREFIX, FOUND = "anew", "read as a prefix", "found again"
SPECULATION = {
    "speculative_algorithm": "NGRAM",
    "speculative_num_draft_tokens": WINDOW,
    "speculative_ngram_max_bfs_breadth": 1,
}
ARMS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    # The use of drafts, and the tier's flags.
    ANEW: ("off", {}),
    PREFIX: ("auto", {}),
    FOUND: ("auto", SPECULATION),
}
START_S = 600.0
DEMO = {"small": "demo/models/small", "large": "demo/models/large"}
SMOKE_SEED = 83_000
SMOKE_TOKENS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """How the questions are asked."""

    concurrency: int
    temperature: float

    def __str__(self) -> str:
        return f"concurrency {self.concurrency}, temperature {self.temperature:g}"


CELLS = (
    Cell(concurrency=1, temperature=0.0),
    Cell(concurrency=8, temperature=0.0),
    Cell(concurrency=8, temperature=0.7),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftedQuestion:
    """A question with the smaller model's answer to it."""

    messages: Sequence[Mapping[str, str]]
    draft: str
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRound:
    """One round of one arm.

    Attributes:
        seconds: from the first request to the last answer.
        tokens, kept_tokens: of each answer; how many of them the draft gave.
        tokens_per_step: of the round's decode steps, by the scheduler's counters.
        texts: the answers.
    """

    seconds: float
    tokens: Sequence[int]
    kept_tokens: Sequence[int]
    tokens_per_step: float
    texts: Sequence[str]

    @property
    def tokens_per_s(self) -> float:
        return sum(self.tokens) / self.seconds

    @property
    def steps_per_token(self) -> float:
        """Steps of a request for each token of its answer."""
        decoded = sum(self.tokens)
        if self.tokens_per_step == 1.0:
            # Tokens that were kept in the prefill take no step.
            decoded -= sum(self.kept_tokens)
        return decoded / self.tokens_per_step / sum(self.tokens)


def weakest(
    stored: Sequence[StoredAnswer], name: str, model: str, count: int
) -> list[StoredAnswer]:
    """The model's greedy answers of a set that the built-in rank puts last.

    Raises:
        SystemExit: if there are fewer.
    """
    answers = [
        answer
        for answer in stored
        if answer.model == model and answer.id.startswith(f"{name}-") and answer.temperature == 0.0
    ]
    if len(answers) < count:
        raise SystemExit(
            f"{len(answers)} answers of {model} to {name} are recorded, {count} needed"
        )
    ranks_N = ranks(np.array([answer.features() for answer in answers]))
    return [answers[index] for index in np.argsort(ranks_N, kind="stable")[:count]]


def drafted(
    answers: Sequence[StoredAnswer], name: str, text_of: Callable[[Sequence[int]], str]
) -> list[DraftedQuestion]:
    """Their questions, each with the answer's text."""
    questions = {question.id: question for question in question_set(name)}
    return [
        DraftedQuestion(
            messages=questions[answer.id].messages,
            draft=text_of(answer.output_ids),
            max_tokens=questions[answer.id].max_tokens,
        )
        for answer in answers
    ]


def of_demo(count: int) -> list[DraftedQuestion]:
    """The demo's questions, with right answers as drafts."""
    return [
        DraftedQuestion(
            messages=({"role": "user", "content": row.prompt},), draft=row.answer, max_tokens=64
        )
        for row in sample("test", SMOKE_SEED, count, ("steps",))
    ]


def request(question: DraftedQuestion, temperature: float) -> bytes:
    """The bytes of a chat request that predicts the draft."""
    body = {
        "model": "cascadia",
        "messages": list(question.messages),
        "temperature": temperature,
        "max_tokens": question.max_tokens,
        "prediction": {"type": "content", "content": question.draft},
        "return_meta_info": True,
    }
    return post("/v1/chat/completions", body)


def ask(port: int, questions: Sequence[DraftedQuestion], cell: Cell) -> ArmRound:
    """One round of one arm."""
    flush_caches(port)
    before = decode_sums(port)
    requests = [request(question, cell.temperature) for question in questions]
    sent = send_all(port, requests, cell.concurrency)
    requests_of_steps, tokens_of_steps = (
        after - earlier for after, earlier in zip(decode_sums(port), before, strict=True)
    )
    choices = [reply.json()["choices"][0] for reply in sent.replies]
    metas = [choice["meta_info"] for choice in choices]
    return ArmRound(
        seconds=sent.seconds,
        tokens=[meta["completion_tokens"] for meta in metas],
        kept_tokens=[meta["cascadia"]["attempts"][-1].get("kept") or 0 for meta in metas],
        tokens_per_step=tokens_of_steps / requests_of_steps if requests_of_steps else 1.0,
        texts=[choice["message"]["content"] or "" for choice in choices],
    )


def decode_sums(port: int) -> tuple[float, float]:
    """Requests of all decode steps so far, and the tokens that these gave."""
    loads = ask_admin(port, "GET", "/v1/loads?include=core")["loads"]
    moments = [load["decode_moments"] or [0.0] * 6 for load in loads]
    return sum(sums[1] for sums in moments), sum(sums[5] for sums in moments)


def measure(
    serve: Callable[[str], AbstractContextManager[int]],
    questions: Sequence[DraftedQuestion],
    rounds: int,
) -> dict[Cell, dict[str, list[ArmRound]]]:
    """All rounds of all cells, each round with questions of its own.

    Args:
        serve: starts the server of an arm; gives its port.
    """
    results: dict[Cell, dict[str, list[ArmRound]]] = {
        cell: {arm: [] for arm in ARMS} for cell in CELLS
    }
    size = len(questions) // rounds
    for number in range(rounds):
        round_questions = questions[number * size : (number + 1) * size]
        # Every arm is first, second and last as often as the others.
        for arm in [*list(ARMS)[number % len(ARMS) :], *list(ARMS)[: number % len(ARMS)]]:
            with serve(arm) as port:
                for cell in CELLS:
                    results[cell][arm].append(ask(port, round_questions, cell))
                    rate = round(results[cell][arm][-1].tokens_per_s, 2)
                    line = {"arm": arm, "cell": str(cell), "tokens_per_s": rate}
                    print(json.dumps(line), flush=True)
    return results


def rows_of(
    case: str, cell: Cell, results: Mapping[str, Sequence[ArmRound]], facts: Facts
) -> list[Row]:
    """Each arm's numbers, and those beside writing anew."""
    rows = CaseRows(facts, "real.drafts", f"{case}, {cell}")
    anew = results[ANEW]
    for arm, rounds in results.items():
        rates = [arm_round.tokens_per_s for arm_round in rounds]
        rows.add(arm, "tokens per second", "1/s", spread(rates))
        rows.add(
            arm, "steps per token", "1", spread([arm_round.steps_per_token for arm_round in rounds])
        )
        if arm == ANEW:
            continue
        kept_tokens = [count for arm_round in rounds for count in arm_round.kept_tokens]
        tokens = [count for arm_round in rounds for count in arm_round.tokens]
        rows.add(arm, "of answers: kept", "1", sum_ratio(kept_tokens, tokens))
        ratio = median_ratio(rates, [arm_round.tokens_per_s for arm_round in anew])
        rows.add(f"{arm} / {ANEW}", "tokens per second", "1", ratio)
        if cell.temperature == 0.0:
            same = [
                text == other
                for arm_round, before in zip(rounds, anew, strict=True)
                for text, other in zip(arm_round.texts, before.texts, strict=True)
            ]
            share = Estimate(p50=sum(same) / len(same), n=len(same))
            rows.add(arm, "answers as those written anew", "1", share)
    return rows.rows


def served(folder: Path, port: int, model_path: str, arm: str) -> AbstractContextManager[int]:
    """Serve the larger model in the way of an arm, at a port."""
    use, flags = ARMS[arm]
    args = {"max_total_tokens": 16384, **flags}
    config = {
        "version": 1,
        "tiers": [
            {"name": "large", "model_path": str(Path(model_path).resolve()), "server_args": args}
        ],
        "routing": {"drafts": use},
    }
    path = folder / "cascade.json"
    path.write_text(json.dumps(config))
    return running_server(
        ["--plugin", "cascadia", "--cascade-config", str(path), "--admin-api-key", KEY],
        port=port,
        log=folder / "server.log",
        start_s=START_S,
        environment={"HF_HUB_OFFLINE": "1"},
    )


def main() -> None:
    """Measure, and write the rows."""
    parser = argparse.ArgumentParser(description="Three ways with a smaller model's answer.")
    for tier in DEMO:
        parser.add_argument(f"--{tier}", help=f"folder of the {tier} model")
    parser.add_argument("--answers", type=Path, default=STORED, help="recorded answers")
    parser.add_argument("--set", choices=SETS, default="humaneval", help="of the questions")
    parser.add_argument("--questions", type=int, default=60, help="of all rounds together")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--port", type=int, default=31_700)
    parser.add_argument(
        "--smoke", action="store_true", help="two questions, cut short; writes nothing"
    )
    args = parser.parse_args()
    is_given = bool(args.small and args.large)
    if not (is_given or args.smoke):
        parser.error("--small and --large are needed: folders of two models of one tokenizer")
    paths = {"small": args.small, "large": args.large} if is_given else DEMO
    count, rounds = (2, 1) if args.smoke else (args.questions, args.rounds)
    questions = of_demo(count)
    if is_given:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(paths["large"])
        answers = weakest(load_answers(args.answers), args.set, Path(paths["small"]).name, count)
        questions = drafted(
            answers, args.set, lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True))
        )
    if args.smoke:
        questions = [replace(question, max_tokens=SMOKE_TOKENS) for question in questions]
    facts = facts_of_this_run("bench.real.drafts")
    case = f"{' under '.join(Path(path).name for path in paths.values())}, {args.set}"
    with tempfile.TemporaryDirectory() as name:
        results = measure(
            lambda arm: served(Path(name), args.port, paths["large"], arm), questions, rounds
        )
    rows = [row for cell, arms in results.items() for row in rows_of(case, cell, arms, facts)]
    if not args.smoke:
        save_rows(RESULTS / "real_drafts.csv", rows)


if __name__ == "__main__":
    main()
