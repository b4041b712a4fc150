"""Every answer read as a draft by the model that wrote it: no worker is lost, no answer differs.

One worker holds both tiers of a cascade whose threshold accepts nothing below the last tier. With
prefill graphs, as a card has them by default; without; with large pages; with prompts prefilled in
small chunks. Plain SGLang and a cascade that writes every answer anew stand beside.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.gpu_check.bare_machine.worker_hooks import GRAPH_BATCHES
from bench.gpu_check.checks.answers import Said, ask, differing, failed, questions
from bench.gpu_check.checks.servers import Server, for_each, model, status
from bench.gpu_check.results import Check
from demo.tasks.families import Row

# Its calibration is one of a first tier.
MODEL = "small"
WITH, WITHOUT, PLAIN = "drafts", "no drafts", "plain SGLang"
# More than the batches' own noise: of answers that plain SGLang gives twice.
MOST_DIFFERING = 0.02
WIDTH = 32
CALIBRATION = f"{model(MODEL)}/calibration.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAnswers:
    """What a server answered, and what a cascade says of itself afterwards.

    Attributes:
        again: the same questions once more, of plain SGLang alone.
        others: sampled, with a bias, with a grammar: none reads a draft, all share its batches.
    """

    name: str
    greedy: list[Said]
    again: list[Said]
    others: list[Said]
    status: dict[str, Any] | None
    lost_workers: int


def run(check: Check) -> bool:
    """Ask all servers the same, then compare."""
    rows = questions(24 if check.dry else 400)
    servers = every_server(check.dry)

    def work(server: Server, port: int) -> ServerAnswers:
        answers = _ask(server, port, rows, 8 if check.dry else 100)
        check.note("asked", server=server.name, lost_workers=answers.lost_workers)
        return answers

    results = for_each(check, servers, work)
    by_name = {result.name: result for result in results if result is not None}
    if PLAIN not in by_name:
        return False
    plain = by_name.pop(PLAIN)
    noise = differing(plain.greedy, plain.again)
    check.number(PLAIN, "asked twice", "answers that differ", "1", noise)
    passed = [_judge(check, reader, plain, noise) for reader in by_name.values()]
    return None not in results and all(passed)


def every_server(dry: bool) -> list[Server]:
    """Those that are compared; without a card, prefills are handed a graph's batch by a hook."""
    as_graphs = {GRAPH_BATCHES: "1"} if dry else {}
    servers = [
        Server(name=PLAIN, flags=("--model-path", model(MODEL), "--max-total-tokens", "65536")),
        Server(name=WITH, config=cascade(True), environment=as_graphs),
    ]
    if dry:
        return servers
    variants = {
        WITHOUT: cascade(False),
        "drafts, no prefill graphs": cascade(True, disable_prefill_cuda_graph=True),
        "drafts, page size 64": cascade(True, page_size=64),
        "drafts, chunks of 64": cascade(True, chunked_prefill_size=64),
    }
    return [*servers, *(Server(name=name, config=config) for name, config in variants.items())]


def cascade(reads: bool, **server_args: Any) -> dict[str, Any]:
    """Two tiers of one model, which one worker serves; the second takes every answer over."""
    tier = {
        "model_path": model(MODEL),
        "server_args": {"max_total_tokens": 65536, **server_args},
    }
    return {
        "tiers": [
            {"name": "first", **tier, "calibration": CALIBRATION},
            {"name": "second", **tier},
        ],
        "routing": {"thresholds": [1.0], "early_abort": None, "drafts": "on" if reads else "off"},
    }


def _ask(server: Server, port: int, rows: Sequence[Row], others: int) -> ServerAnswers:
    before = _pids(port) if server.config is not None else set()
    greedy = ask(port, rows, WIDTH)
    again = ask(port, rows, WIDTH) if server.config is None else []
    few = questions(others, shift=1)
    mixed = ask(port, few, WIDTH, temperature=0.8)
    mixed += ask(port, few[: others // 3], WIDTH, logit_bias={"5": 2.0})
    pattern = json.dumps({"type": "integer"})
    mixed += ask(port, few[: others // 3], WIDTH, json_schema=pattern, max_new_tokens=12)
    if server.config is None:
        return ServerAnswers(
            name=server.name, greedy=greedy, again=again, others=mixed, status=None, lost_workers=0
        )
    lost = len(before - _pids(port))
    tiers = status(port)
    return ServerAnswers(
        name=server.name, greedy=greedy, again=[], others=mixed, status=tiers, lost_workers=lost
    )


def _pids(port: int) -> set[int]:
    return {pid for worker in status(port)["workers"] for pid in worker["pids"]}


def _judge(check: Check, reader: ServerAnswers, plain: ServerAnswers, noise: float) -> bool:
    assert reader.status is not None
    errors = failed([*reader.greedy, *reader.others])
    judge_errors = sum(tier["judge_errors"] for tier in reader.status["tiers"])
    differs = differing(reader.greedy, plain.greedy)
    check.number(reader.name, "beside plain SGLang", "answers that differ", "1", differs)
    passed = [
        check.passes(f"{reader.name}: no worker was lost", reader.lost_workers == 0),
        check.passes(
            f"{reader.name}: every request was answered",
            not errors,
            failed=len(errors),
            first=errors[0].text if errors else None,
        ),
        check.passes(
            f"{reader.name}: the judge made no error", judge_errors == 0, errors=judge_errors
        ),
        check.passes(
            f"{reader.name}: answers are plain SGLang's",
            differs <= noise + MOST_DIFFERING,
            differing=differs,
            noise=noise,
        ),
    ]
    if reader.name != WITHOUT:
        passed.append(_reads(check, reader))
    return all(passed)


def _reads(check: Check, reader: ServerAnswers) -> bool:
    """A draft is read of every greedy question, and nearly all of it is kept."""
    last = [answer.attempts[-1] for answer in reader.greedy if answer.attempts]
    read = [attempt for attempt in last if attempt.get("kept") is not None]
    drafts = (reader.status or {})["tiers"][1]["drafts"] or {}
    tokens = drafts.get("read_tokens") or 0
    kept_share = (drafts.get("kept_tokens") or 0) / tokens if tokens else 0.0
    check.number(
        reader.name, "drafts", "of greedy questions: read", "1", len(read) / len(reader.greedy)
    )
    check.number(reader.name, "drafts", "tokens kept", "1", kept_share)
    return check.passes(
        f"{reader.name}: drafts are read and kept",
        len(read) >= 0.9 * len(reader.greedy) and kept_share >= 0.9,
        read=len(read),
        asked=len(reader.greedy),
        kept=kept_share,
    )
