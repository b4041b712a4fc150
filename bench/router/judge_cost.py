"""What the judge costs: in requests per second, and in host time of a request's step.

One server holds the demo's small model twice, with the same flags: in one worker its answers are
judged, in the other they are not. Requests are pinned to one or the other; rounds alternate in
pairs, and a pair sends the same prompts to both.

Host time is taken without a server, around the calls that SGLang makes of the judge: before and
after the sampler, and once the step's tokens are committed. Requests and their sampling information
are SGLang's own; the steps are those of a full batch whose requests end and are replaced.

Example:
    python -m bench.router.judge_cost                   # writes bench/results/judge.{csv,md}
    python -m bench.router.judge_cost --smoke           # each once, briefly; writes nothing
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from sglang.srt.managers.auxiliary_output import CommittedTokens
from sglang.srt.managers.schedule_batch import FINISH_LENGTH, Req
from sglang.srt.sampling.sampling_params import SamplingParams

from bench import RESULTS
from bench.harness.client import Round, send_all
from bench.harness.estimates import Estimate, median_ratio, spread
from bench.harness.load import questions, requests, text_of
from bench.harness.rows import Facts, facts_of_this_run, make_row, save_rows, source_line
from bench.harness.server import running_server
from cascadia_kernels.testing import make_logits
from cascadia_sglang.judge.calibration import ScoreModel, load_calibration
from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.judge.observer import build_observer
from cascadia_sglang.messages import ATTEMPT_KEY, AttemptOrder
from demo.tasks.tokenizer import VOCABULARY

BENCH = "judge"
CONCURRENCY = 32
BATCH = 32
ANSWER_TOKENS = 8  # the median answer of the demo has 7 characters, and its end
STEPS = 400  # of one repetition
MOST_HOST_US = 20.0
LEAST_THROUGHPUT_RATIO = 0.97

SMALL = "demo/models/small"
TIER = {"model_path": SMALL, "calibration": f"{SMALL}/calibration.json"}
CASCADE = {
    "version": 1,
    "tiers": [
        {"name": "judged", **TIER, "server_args": {"max_total_tokens": 65536}},
        # One token more makes it a worker of its own.
        {"name": "plain", "model_path": SMALL, "server_args": {"max_total_tokens": 65537}},
    ],
    "routing": {"thresholds": [0.5]},
}


def make_request(number: int) -> Req:
    """A request as the scheduler holds it, with the router's order to the judge."""
    params = SamplingParams(max_new_tokens=ANSWER_TOKENS, temperature=0)
    order = AttemptOrder(tier_index=0, threshold=0.9, early_abort=0.05, earlier_scores=())
    params.custom_params = {ATTEMPT_KEY: order.to_params()}
    return Req(str(number), "", [1] * 12, params, vocab_size=len(VOCABULARY))


def host_time_us(steps: int) -> float:
    """Microseconds a request's step, over `steps` steps of a full greedy batch.

    Requests are in different places of their answers, so every step starts and ends some.
    """
    judge = Judge({0: ScoreModel(load_calibration(Path(SMALL) / "calibration.json"))})
    observer = build_observer(judge, "cpu")
    numbers = itertools.count()
    batch = SimpleNamespace(reqs=[make_request(next(numbers)) for _ in range(BATCH)])
    for index, request in enumerate(batch.reqs):
        request.output_ids.extend([5] * (index % ANSWER_TOKENS))
    info: Any = SimpleNamespace(
        is_all_greedy=True,
        grammar_mask=None,
        logit_bias=None,
        has_custom_logit_processor=False,
        has_watermark_candidates=False,
    )
    rows = [make_logits(BATCH, len(VOCABULARY), seed=seed, spread=6.0) for seed in range(16)]
    tokens = [row.argmax(dim=-1) for row in rows]
    taken_s = 0.0
    for step in range(steps):
        logits_BV, tokens_B = rows[step % 16].clone(), tokens[step % 16]
        began = time.perf_counter()
        state = observer.before_grammar(logits_BV, info)
        output: Any = observer.after_sample(state, tokens_B)  # type: ignore[arg-type]
        host = output.copy_to_host(lambda tensor: tensor)
        taken_s += time.perf_counter() - began
        commits = []
        for request, token in zip(batch.reqs, tokens_B.tolist(), strict=True):
            request.output_ids.append(token)
            if len(request.output_ids) == ANSWER_TOKENS:
                request.finished_reason = FINISH_LENGTH(length=ANSWER_TOKENS)
            index = len(request.output_ids) - 1
            commits.append(CommittedTokens(output_index=index, token_ids=(token,)))
        began = time.perf_counter()
        host.consume(batch, commits)
        judge.reports([request for request in batch.reqs if request.finished()])
        taken_s += time.perf_counter() - began
        # An early abort does not end the request here: every one runs to its full length.
        batch.reqs = [
            make_request(next(numbers)) if request.finished() else request for request in batch.reqs
        ]
    return 1e6 * taken_s / (steps * BATCH)


def measure_rounds(port: int, pairs: int, round_s: float) -> tuple[list[Round], list[Round]]:
    """Rounds of the plain and of the judged worker, in pairs.

    Raises:
        SystemExit: if the two do not give the same answers, before any timing.
    """
    sides = [{"x-cascadia-tier": "plain"}, {"x-cascadia-tier": "judged"}]
    seeds = itertools.count(2000)

    def both(count: int) -> list[list[bytes]]:
        rows = questions(next(seeds), count)
        return [requests(rows, headers=side) for side in sides]

    first, second = (send_all(port, sent, CONCURRENCY) for sent in both(64))
    for reply, judged_reply in zip(first.replies, second.replies, strict=True):
        if text_of(reply) != text_of(judged_reply):
            raise SystemExit(
                f"plain gives {text_of(reply)!r}, judged gives {text_of(judged_reply)!r}"
            )
    rates = [send_all(port, sent, CONCURRENCY).requests_per_s for sent in both(128)]
    count = math.ceil(1.1 * round_s * max(rates))
    rounds: tuple[list[Round], list[Round]] = ([], [])
    for number in range(pairs):
        pair = list(zip(both(count), rounds, strict=True))
        for sent, rounds_of_side in pair if number % 2 == 0 else reversed(pair):
            rounds_of_side.append(send_all(port, sent, CONCURRENCY))
    return rounds


def estimates(
    plain: list[Round], judged: list[Round], host_us: list[float]
) -> Iterator[tuple[str, str, str, str, Estimate]]:
    """Case, variant, metric, unit and value of every row."""
    case = f"concurrency {CONCURRENCY}"
    before, after = ([sent.requests_per_s for sent in side] for side in (plain, judged))
    yield case, "plain", "requests_per_s", "1/s", spread(before)
    yield case, "judged", "requests_per_s", "1/s", spread(after)
    yield case, "judged/plain", "requests_per_s", "1", median_ratio(after, before)
    case = f"batch {BATCH}, vocabulary {len(VOCABULARY)}"
    yield case, "judge", "host_time_per_request_step", "us", spread(host_us)


def report(results: list[tuple[str, str, str, str, Estimate]], facts: Facts) -> str:
    """Markdown: what it says, and where it comes from."""
    values = {(variant, metric): value for _, variant, metric, _, value in results}
    ratio = values["judged/plain", "requests_per_s"]
    host = values["judge", "host_time_per_request_step"]
    lines = [
        "# What the judge costs",
        "",
        "| | measured | target |",
        "|---|---|---|",
        f"| requests/s, judged / plain, concurrency {CONCURRENCY} | {ratio.p50:.3f} "
        f"[{ratio.low95:.3f}, {ratio.high95:.3f}], {ratio.n} pairs | ≥ {LEAST_THROUGHPUT_RATIO} |",
        f"| host time a request-step, batch of {BATCH} | {host.p50:.2f} µs "
        f"({host.p20:.2f} to {host.p80:.2f}) | ≤ {MOST_HOST_US:.0f} µs |",
    ]
    return "\n".join([*lines, "", source_line(facts), ""])


def main() -> None:
    """Measure, print the report, and write it with its rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=15, help="pairs of rounds")
    parser.add_argument("--round-s", type=float, default=3.0, help="a round takes at least this")
    parser.add_argument("--port", type=int, default=31040)
    parser.add_argument("--smoke", action="store_true", help="each once, briefly")
    args = parser.parse_args()
    pairs, round_s, steps = (1, 0.1, 10) if args.smoke else (args.pairs, args.round_s, STEPS)
    facts = facts_of_this_run("bench.router.judge_cost")
    torch.set_num_threads(1)
    host_time_us(50)  # compiles
    gc.collect()
    host_us = [host_time_us(steps) for _ in range(1 if args.smoke else 15)]
    print(f"host time {statistics.median(host_us):.2f} us a request-step", flush=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "cascade.json").write_text(json.dumps(CASCADE))
        flags = ("--plugin", "cascadia", "--cascade-config", str(folder / "cascade.json"))
        limits = ("--max-running-requests", "128", "--log-level", "warning")
        port = stack.enter_context(
            running_server((*flags, *limits), port=args.port, log=folder / "log")
        )
        plain, judged = measure_rounds(port, pairs, round_s)
    results = list(estimates(plain, judged, host_us))
    print(report(results, facts))
    if not args.smoke:
        rows = [
            make_row(facts, bench=BENCH, case=c, variant=v, metric=m, unit=u, value=value)
            for c, v, m, u, value in results
        ]
        save_rows(RESULTS / f"{BENCH}.csv", rows)
        (RESULTS / f"{BENCH}.md").write_text(report(results, facts))


if __name__ == "__main__":
    main()
