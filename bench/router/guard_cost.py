"""What the check before dispatch costs a request in CPU time of the server process.

Measured on a request as the chat route makes it: token ids, the sampling parameters that it always
sets, some more that a client may set. The check alone; nothing is served.

Example:
    python -m bench.router.guard_cost            # writes bench/results/guard.csv
    python -m bench.router.guard_cost --smoke    # briefly; writes nothing
"""

from __future__ import annotations

import argparse
import random
import time
from typing import Any

from sglang.srt.managers.io_struct import GenerateReqInput

from bench import RESULTS
from bench.harness.estimates import Estimate, spread
from bench.harness.rows import facts_of_this_run, make_row, save_rows
from cascadia_sglang.request_guard.request_check import check_request
from cascadia_sglang.request_guard.request_table import Scope

BENCH = "guard"
VOCABULARY = 151_936
PROMPT_TOKENS = (10, 1_000, 10_000)
REQUESTS, REPETITIONS = 2_000, 15

CHAT = {
    "temperature": 0.7,
    "max_new_tokens": 256,
    "min_new_tokens": 0,
    "stop": ["###"],
    "stop_token_ids": None,
    "stop_regex": None,
    "top_p": 0.9,
    "top_k": -1,
    "min_p": 0.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
    "regex": None,
    "ebnf": None,
    "n": 1,
    "no_stop_trim": False,
    "ignore_eos": False,
    "skip_special_tokens": True,
    "logit_bias": None,
    "custom_params": None,
    "sampling_seed": 7,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "no parameters": {"sampling_params": {}},
    "as the chat route": {
        "sampling_params": CHAT,
        "rid": "a" * 32,
        "return_logprob": True,
        "logprob_start_len": -1,
        "top_logprobs_num": 5,
        "stream": True,
        "received_time": 1e9,
    },
}


def measure(variant: str, tokens: int, requests: int) -> Estimate:
    """Microseconds a request, over repetitions of `requests` requests."""
    generator = random.Random(0)
    ids = [generator.randrange(VOCABULARY) for _ in range(tokens)]
    scope = Scope(vocabulary=VOCABULARY, max_samples=128, max_requests=4096)
    taken_us = []
    for _ in range(REPETITIONS + 1):
        prepared = [GenerateReqInput(input_ids=ids, **VARIANTS[variant]) for _ in range(requests)]
        began = time.process_time()
        for request in prepared:
            check_request(request, scope)
        taken_us.append(1e6 * (time.process_time() - began) / requests)
    return spread(taken_us[1:])  # the first warms up


def main() -> None:
    """Measure every variant at every prompt length."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="briefly; writes nothing")
    args = parser.parse_args()
    facts = facts_of_this_run("bench.router.guard_cost")
    rows = []
    for tokens in PROMPT_TOKENS:
        for variant in VARIANTS:
            row = make_row(
                facts,
                bench=BENCH,
                case=f"prompt of {tokens} tokens",
                variant=variant,
                metric="cpu_time_per_request",
                unit="us",
                value=measure(variant, tokens, 20 if args.smoke else REQUESTS),
            )
            rows.append(row)
            print(f"{row.case}: {variant} {row.p50} us ({row.p20} to {row.p80})")
    if not args.smoke:
        save_rows(RESULTS / f"{BENCH}.csv", rows)


if __name__ == "__main__":
    main()
