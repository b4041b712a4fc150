"""The demo with a predicted entry: its entry model, fitted here, and the cascade that uses it.

    python -m bench.entry.demo fit       # writes bench/entry/cache/entry.json and rows
    python -m bench.entry.demo serve     # the cascade with entry first and predicted, in turn
    python -m bench.entry.demo serve --smoke     # a few prompts; writes nothing

The labels are greedy answers to the calibration split, the report's to the test split.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np
import torch
import yaml

from bench import RESULTS
from bench.harness.client import send_all
from bench.harness.estimates import Estimate, mean_difference, median_ratio
from bench.harness.load import questions, requests
from bench.harness.rows import Facts, Row, facts_of_this_run, make_row, save_rows
from bench.harness.server import running_server
from bench.serving.arms import Arm
from bench.serving.compare import FLAGS, ask
from cascadia_sglang.arrays import BoolArray
from cascadia_sglang.calibration.fit.entry_model import worth
from cascadia_sglang.config.cascade_file import read_cascade
from cascadia_sglang.entry.fit import fit_entry_model
from cascadia_sglang.entry.model import (
    EntryModel,
    save_entry_model,
    vocabulary_fingerprint,
)
from demo import CASCADE, FOLDER, MODELS
from demo.calibrate.evaluate import answers
from demo.tasks.families import Row as Question
from demo.tasks.families import is_correct
from demo.tasks.splits import sample
from demo.tasks.tokenizer import build_tokenizer, encode_prompt
from demo.train.tiers import TIERS

SEED = 1
SERVE_SEED = 20_361
NGRAMS, BITS = 3, 12  # of characters
CACHE = Path(__file__).parent / "cache"  # not in git
MODEL = CACHE / "entry.json"


def tier_costs() -> list[float]:
    """Seconds of each tier for one request, as `bench.serving.compare` measured it alone."""
    with (RESULTS / "serving.csv").open(newline="") as file:
        rates = {
            row["variant"]: float(row["p50"])
            for row in csv.DictReader(file)
            if row["metric"] == "requests_per_s" and row["variant"].endswith(" alone")
        }
    return [1 / rates[f"{name} alone"] for name in TIERS]


def right_answers(split: str, count: int) -> tuple[list[Question], BoolArray]:
    """Prompts of a split, and whether each tier but the last answers each right, [H, N].

    What was decoded once is kept in `CACHE`.
    """
    rows, right = sample(split, SEED, count), []
    for name in list(TIERS)[:-1]:
        path = CACHE / f"{split}-{SEED}-{count}-{name}.npy"
        if not path.exists():
            texts = answers(MODELS / name, rows)
            CACHE.mkdir(exist_ok=True)
            np.save(path, [is_correct(row, text) for row, text in zip(rows, texts, strict=True)])
        right.append(np.load(path))
    return rows, np.array(right)


def fit(rows: Sequence[Question], right_HN: BoolArray) -> EntryModel:
    """The demo's entry model."""
    return fit_entry_model(
        [encode_prompt(row.prompt) for row in rows],
        right_HN,
        tier_costs(),
        tiers=list(TIERS),
        vocabulary=vocabulary_fingerprint(build_tokenizer().get_vocab()),
        ngrams=NGRAMS,
        bits=BITS,
    )


def fit_demo(rows: int, facts: Facts) -> list[Row]:
    """Fit the demo's entry model, write it, and say how good it is."""
    model = fit(*right_answers("calibration", rows))
    rows_of_test, right_HN = right_answers("test", rows // 2)
    report = worth(model, [encode_prompt(row.prompt) for row in rows_of_test], right_HN)
    save_entry_model(msgspec.structs.replace(model, report=report), MODEL)
    for name, chance in zip(TIERS, model.chances, strict=False):
        report[f"skip_below_{name}"] = chance.skip_below
    print(" ".join(f"{key} {value:.4g}" for key, value in report.items()), flush=True)
    return [
        make_row(
            facts,
            bench="entry",
            case="demo",
            variant="entry model",
            metric=metric,
            unit="1",
            value=Estimate(p50=value, n=rows // 2),
        )
        for metric, value in report.items()
    ]


def serve(served: list[Question], block: int, width: int, port: int) -> tuple[Arm, Arm]:
    """The demo cascade with entry first and predicted; one of them works while the other sleeps."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        arms = []
        for number, entry in enumerate(("first", "predicted")):
            cascade = read_cascade(CASCADE).data
            cascade["routing"] |= {"entry": entry, "entry_model": str(MODEL)}
            path = folder / f"{entry}.yaml"
            path.write_text(yaml.safe_dump(cascade))
            flags = ("--plugin", "cascadia", "--cascade-config", str(path), *FLAGS)
            log = folder / f"{entry}.log"
            arms.append(
                Arm(
                    name=f"entry {entry}",
                    port=stack.enter_context(running_server(flags, port=port + number, log=log)),
                )
            )
        for arm in arms:
            send_all(arm.port, requests(questions(SERVE_SEED + 1, 2 * width)), width)
        ask(arms, served, block, width)
    first, predicted = arms
    return first, predicted


def compared(first: Arm, predicted: Arm) -> Iterator[tuple[str, str, str, Estimate]]:
    """Variant, metric, unit and value of every row."""
    for arm in (first, predicted):
        for metric, unit, value in arm.estimates():
            yield arm.name, metric, unit, value
    difference = mean_difference(predicted.right, first.right)
    yield "predicted - first", "accuracy_difference", "1", difference
    ratio = median_ratio(predicted.requests_per_s, first.requests_per_s)
    yield "predicted/first", "requests_per_s", "1", ratio
    ratio = median_ratio(predicted.latency_p50_ms, first.latency_p50_ms)
    yield "predicted/first", "latency_p50", "1", ratio


def main() -> None:
    """Fit the demo's model, or measure the cascade with it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=("fit", "serve"))
    parser.add_argument("--rows", type=int, default=5000, help="that fit; half as many report")
    parser.add_argument("--prompts", type=int, default=4000)
    parser.add_argument("--block", type=int, default=500)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--port", type=int, default=31_100, help="of the first server")
    parser.add_argument("--smoke", action="store_true", help="64 prompts served; writes nothing")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    facts = facts_of_this_run("bench.entry.demo")
    if args.step == "fit":
        save_rows(RESULTS / "entry.csv", fit_demo(args.rows, facts))
        return
    if not MODEL.exists():
        raise SystemExit(f"{MODEL} is missing: run the step `fit` first")
    count, block = (64, 32) if args.smoke else (args.prompts, args.block)
    arms = serve(questions(SERVE_SEED, count), block, args.concurrency, args.port)
    case = f"{CASCADE.relative_to(FOLDER.parent)}, concurrency {args.concurrency}"
    rows = [
        make_row(
            facts, bench="entry", case=case, variant=variant, metric=metric, unit=unit, value=value
        )
        for variant, metric, unit, value in compared(*arms)
    ]
    for row in rows:
        print(row.variant, row.metric, row.p50, row.low95, row.high95)
    if not args.smoke:
        save_rows(RESULTS / "entry.csv", rows)


if __name__ == "__main__":
    main()
