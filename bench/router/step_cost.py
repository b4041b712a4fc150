"""What the judge costs the host in one decoding step on an accelerator, without an accelerator.

The path is serving's own: the observer before and after the sampler, the copy to the host, and the
fold and the scores once the tokens are committed. Kernel launches are replaced by nothing, so the
figure is the Python and NumPy work around them; what Triton and the driver take to launch is not in
it. Requests and steps are SGLang's own kinds, and the step values are prepared ones.

Two batches: answers of 8 tokens, so that an eighth of the requests ends at every step and as many
begin, and answers of 256 tokens with a checkpoint every 16 tokens. Time is the thread's CPU time,
which other processes on the machine change little; the load is printed beside it.

Example:
    python -m bench.router.step_cost            # adds rows to bench/results/judge.csv
    python -m bench.router.step_cost --smoke    # briefly; writes nothing

Shape legend: B rows of a step, V vocabulary.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import itertools
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from sglang.srt.managers.auxiliary_output import CommittedTokens
from sglang.srt.managers.schedule_batch import FINISH_LENGTH, Req
from sglang.srt.sampling.sampling_params import SamplingParams
from triton.runtime.jit import JITFunction

from bench import RESULTS
from bench.harness.estimates import Estimate, spread
from bench.harness.rows import facts_of_this_run, make_row, save_rows
from cascadia_sglang.judge.calibration import Calibration, PrefixModel, ScoreModel
from cascadia_sglang.judge.device_observer import DeviceObserver
from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.messages import ATTEMPT_KEY, AttemptOrder

BENCH = "judge"
BATCHES = (1, 8, 32, 128)
STEPS, REPETITIONS = 300, 15
COLUMNS = 1024  # of the logits, which nobody reads
ANSWER_TOKENS = {"short answers": 8, "long answers": 256}
SAMPLING = {"greedy": True, "tempered": False}


def make_judge() -> Judge:
    """A judge with a model of every feature and a checkpoint every 16 tokens."""
    weights = [0.1] * len(FEATURES)
    prefix = [
        PrefixModel(tokens=tokens, weights=weights, bias=0.0, residual_sd=1.0)
        for tokens in range(16, 257, 16)
    ]
    calibration = Calibration(
        version=3,
        features=list(FEATURES),
        mean=[0.0] * len(FEATURES),
        scale=[1.0] * len(FEATURES),
        weights=weights,
        bias=0.0,
        prefix=prefix,
        samples=1000,
        constrained_samples=0,
        score_quantiles=[0.0, 1.0],
        report={},
        quantile_samples=1000,
    )
    return Judge({0: ScoreModel(calibration)})


def make_request(number: int, tokens: int) -> Req:
    """A request as the scheduler holds it, with the router's order to the judge."""
    params = SamplingParams(max_new_tokens=tokens, temperature=0)
    order = AttemptOrder(tier_index=0, threshold=0.9, early_abort=1e-9, earlier_scores=())
    params.custom_params = {ATTEMPT_KEY: order.to_params()}
    return Req(str(number), "", [1] * 12, params, vocab_size=COLUMNS)


@contextmanager
def without_launches() -> Iterator[None]:
    """CPU tensors take the path of an accelerator's, and every launch does nothing."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(JITFunction, "run", lambda *_args, **_options: None))
        for name in ("row_statistics", "fold_sampled", "row_summary"):
            module = importlib.import_module(f"cascadia_kernels.{name}")
            stack.enter_context(patch.object(module, "runs_triton", lambda _tensor: True))
        yield


def step_us(batch: int, tokens: int, is_greedy: bool, steps: int) -> float:
    """Microseconds of CPU time a step, over `steps` steps of a full batch."""
    judge = make_judge()
    observer = DeviceObserver(judge)
    numbers = itertools.count()
    requests = [make_request(next(numbers), tokens) for _ in range(batch)]
    for index, request in enumerate(requests):
        request.output_ids.extend([5] * (index * tokens // batch))
    info: Any = SimpleNamespace(
        is_all_greedy=is_greedy,
        temperatures=torch.full((batch, 1), 0.7),
        grammar_mask=None,
        grammars=None,
        logit_bias=None,
        has_custom_logit_processor=False,
        custom_logit_processor=None,
        has_watermark_candidates=False,
        watermark_candidates_host=None,
    )
    logits_BV = torch.zeros(batch, COLUMNS)
    token_ids_B = torch.full((batch,), 5, dtype=torch.int32)
    drawn = np.random.default_rng(0).normal(size=(batch, 5))
    values_B5 = torch.from_numpy(-np.abs(drawn)).float()
    taken_s = 0.0
    for _ in range(steps):
        began = time.thread_time()
        state = observer.before_grammar(logits_BV, info)
        output: Any = observer.after_sample(state, token_ids_B)
        # SGLang's own copy is not the judge's work; a copy of its values stands in for it.
        host = output.copy_to_host(lambda _tensor: values_B5)
        taken_s += time.thread_time() - began
        commits = []
        for request in requests:
            request.output_ids.append(5)
            index = len(request.output_ids)
            if index >= tokens:
                request.finished_reason = FINISH_LENGTH(length=tokens)
            commits.append(CommittedTokens(output_index=index - 1, token_ids=(5,)))
        scheduled: Any = SimpleNamespace(reqs=requests)
        ended = [request for request in requests if request.finished()]
        began = time.thread_time()
        host.consume(scheduled, commits)
        judge.reports(ended)
        taken_s += time.thread_time() - began
        requests = [
            make_request(next(numbers), tokens) if request.finished() else request
            for request in requests
        ]
    return 1e6 * taken_s / steps


def measure(batch: int, tokens: int, is_greedy: bool, steps: int, repetitions: int) -> Estimate:
    """Microseconds a step; the first repetition compiles and is left out."""
    taken_us = []
    for _ in range(repetitions + 1):
        gc.collect()
        taken_us.append(step_us(batch, tokens, is_greedy, steps))
    return spread(taken_us[1:])


def main() -> None:
    """Measure every batch, print it, and add it to the rows of the judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="briefly; writes nothing")
    parser.add_argument("--print-only", action="store_true", help="writes nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    facts = facts_of_this_run("bench.router.step_cost")
    steps, repetitions = (10, 1) if args.smoke else (STEPS, REPETITIONS)
    rows = []
    with without_launches():
        cases = itertools.product(ANSWER_TOKENS.items(), SAMPLING.items(), BATCHES)
        for (answers, tokens), (sampling, is_greedy), batch in cases:
            row = make_row(
                facts,
                bench=BENCH,
                case=f"batch {batch}, {answers}, {sampling}",
                variant="a step on an accelerator, without its launches",
                metric="host_cpu_time_per_step",
                unit="us",
                value=measure(batch, tokens, is_greedy, steps, repetitions),
            )
            print(f"{row.case}: {row.p50} us ({row.p20} to {row.p80})", flush=True)
            rows.append(row)
            if not (args.smoke or args.print_only):
                save_rows(RESULTS / f"{BENCH}.csv", rows)  # what is measured is kept
    print(f"load average of the machine: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
