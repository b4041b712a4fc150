"""The entry model on RouteLLM's evaluation sets, beside RouteLLM's published numbers.

    python -m bench.entry.routing --gsm8k routing_gsm8k.jsonl --mmlu routing_mmlu.jsonl
    python -m bench.entry.routing … --router encoder     # the transformer instead

`bench/entry/sets.py` says where to get the files. In a set: fitted on a random half of it, tested
on the other, for several seeds. Across sets: fitted on the whole of one, tested on the other.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from bench import RESULTS
from bench.entry.curve import BoolArray, curve
from bench.entry.report import report
from bench.entry.routers import FloatArray, encoder_needs, entry_needs
from bench.entry.sets import RoutingSet, halves, load_set
from bench.harness.estimates import Estimate, resampled_halves
from bench.harness.rows import Row, facts_of_this_run, make_row, save_rows
from demo.tasks.splits import sample

BENCH = "entry"
RESAMPLES = 500

# Needs of a test set by the routers of a family, after a fit with a seed.
Needs = Callable[[RoutingSet, RoutingSet, int], dict[str, FloatArray]]
ROUTERS: dict[str, Needs] = {"entry": entry_needs, "encoder": encoder_needs}

MetricEstimate = tuple[str, str, Estimate]  # router, metric, value


def metrics(need_N: FloatArray, right_2N: BoolArray) -> dict[str, float]:
    """APGR, CPT(50 %) and CPT(80 %)."""
    routing_curve = curve(need_N, *right_2N)
    return {
        "apgr": routing_curve.apgr(),
        "cpt50": routing_curve.cpt(0.5),
        "cpt80": routing_curve.cpt(0.8),
    }


def within(whole: RoutingSet, needs_of: Needs, seeds: int) -> Iterator[MetricEstimate]:
    """Half against half."""
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for seed in range(seeds):
        fit, test = halves(whole, seed)
        for router, need_N in needs_of(fit, test, seed).items():
            for metric, value in metrics(need_N, test.right_2N).items():
                values[router, metric].append(value)
            print(whole.name, seed, router, f"{values[router, 'apgr'][-1]:.3f}", flush=True)
    for (router, metric), of_halves in values.items():
        yield router, metric, resampled_halves(of_halves)


def across(fit: RoutingSet, test: RoutingSet, needs_of: Needs) -> Iterator[MetricEstimate]:
    """Fitted on one set, tested on the other; intervals by bootstrap over the test prompts."""
    count = len(test.prompts)
    picks_RN = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
    for router, need_N in needs_of(fit, test, 0).items():
        drawn = [metrics(need_N[picks_N], test.right_2N[:, picks_N]) for picks_N in picks_RN]
        for metric, value in metrics(need_N, test.right_2N).items():
            low, high = np.quantile(
                [resample[metric] for resample in drawn], (0.025, 0.975)
            ).tolist()
            yield router, metric, Estimate(p50=value, low95=low, high95=high, n=count)
        print(fit.name, "to", test.name, router, metrics(need_N, test.right_2N), flush=True)


def invented(count: int) -> RoutingSet:
    """Prompts of the demo with made-up answers, for a smoke run without the files."""
    rows = sample("train", 0, count)
    weak = [row.size < 4 for row in rows]
    return RoutingSet(
        name="invented",
        prompts=[row.prompt for row in rows],
        right_2N=np.array([weak, np.arange(count) % 10 > 0]),
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gsm8k", type=Path)
    parser.add_argument("--mmlu", type=Path)
    parser.add_argument("--router", choices=tuple(ROUTERS), default="entry")
    parser.add_argument("--fit-on", nargs="+", choices=("mmlu", "gsm8k"), default=["mmlu", "gsm8k"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="of the encoder's training")
    parser.add_argument("--smoke", action="store_true", help="on invented answers; writes nothing")
    return parser.parse_args()


def main() -> None:
    """Measure every case of one router; write its rows, and the report of all rows."""
    args = _arguments()
    torch.set_num_threads(args.threads)
    needs_of = ROUTERS[args.router]
    if args.smoke:
        list(within(invented(200), needs_of, 2))
        return
    if args.gsm8k is None or args.mmlu is None:
        raise SystemExit("needed: --gsm8k and --mmlu; bench/entry/sets.py says where to get them")
    mmlu, gsm8k = load_set(args.mmlu), load_set(args.gsm8k)
    facts = facts_of_this_run("bench.entry.routing")
    pairs = {"mmlu": (mmlu, gsm8k), "gsm8k": (gsm8k, mmlu)}
    for fit, test in (pairs[name] for name in args.fit_on):
        for case, results in (
            (f"{fit.name}, half to half", within(fit, needs_of, args.seeds)),
            (f"{fit.name} to {test.name}", across(fit, test, needs_of)),
        ):
            rows: list[Row] = [
                make_row(
                    facts,
                    bench=BENCH,
                    case=case,
                    variant=router,
                    metric=metric,
                    unit="1",
                    value=value,
                )
                for router, metric, value in results
            ]
            save_rows(RESULTS / f"{BENCH}.csv", rows)
    (RESULTS / f"{BENCH}.md").write_text(report(RESULTS / f"{BENCH}.csv", (mmlu, gsm8k)))


if __name__ == "__main__":
    main()
