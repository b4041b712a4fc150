"""How long one prompt takes the entry model and the encoder, on one thread, tokens given.

    python -m bench.entry.latency
    python -m bench.entry.latency --smoke     # a few prompts; writes nothing

Weights and prompts are random: neither changes the work.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from bench import RESULTS
from bench.entry.encoder import Encoder, encoder_chances
from bench.harness.estimates import spread
from bench.harness.rows import facts_of_this_run, make_row, save_rows
from cascadia_sglang.entry.model import EntryModel, EntryScorer, TierChance

VOCABULARY = 8192
# 2,000 characters of English are about 500 subword tokens, or 2,000 tokens of a character each.
CASES = ((500, 2, 16), (2000, 2, 16), (2000, 3, 12), (32_000, 2, 16))  # tokens, n-grams, bits


def random_scorer(rng: np.random.Generator, ngrams: int, bits: int) -> EntryScorer:
    """An entry model of three tiers."""
    chances = [
        TierChance(
            weights=rng.normal(size=1 << bits).astype("<f4").tobytes(),
            length_weight=0.1,
            bias=0.0,
            skip_below=0.3,
        )
        for _ in range(2)
    ]
    return EntryScorer(
        EntryModel(
            version=1,
            tiers=["small", "middle", "large"],
            vocabulary="",
            ngrams=ngrams,
            bits=bits,
            chances=chances,
            samples=0,
            report={},
        )
    )


def times_us(route: Callable[[list[int]], object], prompts: Sequence[list[int]]) -> list[float]:
    """Microseconds of each prompt, after one that warms up."""
    route(prompts[0])
    seconds = []
    for prompt in prompts:
        started = time.perf_counter()
        route(prompt)
        seconds.append((time.perf_counter() - started) * 1e6)
    return seconds


def main() -> None:
    """Measure; write the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    facts = facts_of_this_run("bench.entry.latency")
    encoder = Encoder(VOCABULARY, 2)
    rows = []
    for tokens, ngrams, bits in CASES:
        count = 5 if args.smoke else args.prompts
        prompts = rng.integers(VOCABULARY, size=(count, tokens)).tolist()
        scorer = random_scorer(rng, ngrams, bits)
        variants: dict[str, Callable[[list[int]], object]] = {
            f"entry model, {ngrams}-grams, 2^{bits}": partial(scorer.climb, tiers=[0, 1, 2])
        }
        if ngrams == 2:
            variants["encoder"] = lambda ids: encoder_chances(encoder, [ids])
        for variant, route in variants.items():
            value = spread(times_us(route, prompts))
            print(f"{tokens} tokens, {variant}: {value.p50:.0f} us, p80 {value.p80:.0f} us")
            rows.append(
                make_row(
                    facts,
                    bench="entry",
                    case=f"{tokens} tokens",
                    variant=variant,
                    metric="routing_time",
                    unit="us",
                    value=value,
                )
            )
    if not args.smoke:
        save_rows(RESULTS / "entry.csv", rows)


if __name__ == "__main__":
    main()
