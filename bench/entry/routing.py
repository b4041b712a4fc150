"""The entry model on RouteLLM's evaluation sets, beside RouteLLM's published numbers.

    python -m bench.entry.routing --gsm8k routing_gsm8k.jsonl --mmlu routing_mmlu.jsonl

`bench/entry/sets.py` says where to get the files. In a set: fitted on a random half of it, tested
on the other, for several seeds. Across sets: fitted on the whole of one, tested on the other.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from bench.entry.curve import curve
from bench.entry.report import report
from bench.entry.routers import FloatArray, encoder_needs, entry_needs
from bench.entry.sets import RoutingSet, halves, load_set
from bench.harness.estimates import Estimate, resampled_halves, spread
from bench.harness.rows import RESULTS, facts_of_this_run, make_row, save_rows
from bench.ladder.splits import sample

METRICS = ("apgr", "cpt50", "cpt80")
RESAMPLES = 1000

# Of each case: by router and metric.
Found = dict[str, dict[tuple[str, str], Estimate]]


def metrics(need_N: FloatArray, test: RoutingSet) -> dict[str, float]:
    """APGR, CPT(50 %) and CPT(80 %)."""
    made = curve(need_N, *test.right_2N)
    return {"apgr": made.apgr(), "cpt50": made.cpt(0.5), "cpt80": made.cpt(0.8)}


def within(whole: RoutingSet, seeds: int, encoder_seeds: int) -> dict[tuple[str, str], Estimate]:
    """Half against half."""
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for seed in range(seeds):
        fit, test = halves(whole, seed)
        needs, taken_us = entry_needs(fit, test)
        values["entry model", "microseconds"] += taken_us
        if seed < encoder_seeds:
            more, encoder_us = encoder_needs(fit, test, seed)
            needs |= more
            values["encoder", "microseconds"] += encoder_us
        for router, need_N in needs.items():
            for metric, value in metrics(need_N, test).items():
                values[router, metric].append(value)
        print(whole.name, "seed", seed, _line(needs, test), flush=True)
    return {
        key: spread(found) if key[1] == "microseconds" else resampled_halves(found)
        for key, found in values.items()
    }


def across(fit: RoutingSet, test: RoutingSet, encoder: bool) -> dict[tuple[str, str], Estimate]:
    """Fitted on one set, tested on the other; intervals by bootstrap over the test prompts."""
    needs, _ = entry_needs(fit, test)
    if encoder:
        needs |= encoder_needs(fit, test, 0)[0]
    print(fit.name, "to", test.name, _line(needs, test), flush=True)
    rng = np.random.default_rng(0)
    picks_RN = rng.integers(len(test.prompts), size=(RESAMPLES, len(test.prompts)))
    found = {}
    for router, need_N in needs.items():
        drawn = [metrics(need_N[picks_N], test.part(picks_N)) for picks_N in picks_RN]
        for metric, value in metrics(need_N, test).items():
            low, high = np.quantile([one[metric] for one in drawn], (0.025, 0.975)).tolist()
            found[router, metric] = Estimate(p50=value, low95=low, high95=high, n=len(test.prompts))
    return found


def invented(count: int) -> RoutingSet:
    """Prompts of the ladder with made-up answers, for a smoke run without the files."""
    rows = sample("train", 0, count)
    weak = [row.size < 4 for row in rows]
    return RoutingSet(
        name="invented",
        prompts=[row.prompt for row in rows],
        right_2N=np.array([weak, np.arange(count) % 10 > 0]),
    )


def _line(needs: Mapping[str, FloatArray], test: RoutingSet) -> str:
    return ", ".join(f"{name} {metrics(n, test)['apgr']:.3f}" for name, n in needs.items())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gsm8k", type=Path)
    parser.add_argument("--mmlu", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--encoder-seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="of the encoder's training")
    parser.add_argument("--smoke", action="store_true", help="on invented answers; writes nothing")
    return parser.parse_args()


def main() -> None:
    """Measure every case; write rows and the report."""
    args = _arguments()
    torch.set_num_threads(args.threads)
    if args.smoke:
        within(invented(200), 2, 1)
        return
    if args.gsm8k is None or args.mmlu is None:
        raise SystemExit("needed: --gsm8k and --mmlu; bench/entry/sets.py says where to get them")
    sets: Sequence[RoutingSet] = [load_set(args.mmlu), load_set(args.gsm8k)]
    found: Found = {}
    for one, other in (sets, sets[::-1]):
        found[f"{one.name}, half to half"] = within(one, args.seeds, args.encoder_seeds)
        found[f"{one.name} to {other.name}"] = across(one, other, args.encoder_seeds > 0)
    facts = facts_of_this_run("bench.entry.routing")
    rows = [
        make_row(
            facts,
            bench="entry",
            case=case,
            variant=router,
            metric=metric,
            unit="us" if metric == "microseconds" else "1",
            value=value,
        )
        for case, values in found.items()
        for (router, metric), value in values.items()
    ]
    save_rows(RESULTS / "entry.csv", rows)
    (RESULTS / "entry.md").write_text(report(sets, found, facts))


if __name__ == "__main__":
    main()
