"""What a probe of the hidden state adds to the demo's scores, on prompts that nothing has used.

A linear probe reads the last hidden state of an answer (or the mean over its steps). The
calibration split fits both scores. On the way, after k tokens, both foretell whether the committed
score will reach the committed threshold. Differences are paired: every resample of the test
prompts measures both.

Example:
    python -m bench.calibration.hidden --split calibration --chunks 10
    python -m bench.calibration.hidden --split test --chunks 5
    python -m bench.calibration.probe             # writes rows to bench/results/calibration.csv

Shape legend: N answers, H hidden size, G columns of the logits' features, R resamples.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from bench import RESULTS
from bench.calibration.hidden import PROBED, HiddenStates, complete_hidden, load_hidden
from bench.harness.estimates import Estimate
from bench.harness.paired import paired
from bench.harness.rows import facts_of_this_run, make_row, save_rows
from cascadia_sglang.arrays import BoolArray, FloatArray
from cascadia_sglang.calibration.fit.probe import fit_probe, with_probe
from cascadia_sglang.calibration.fit.replay import sigmoid
from cascadia_sglang.calibration.fit.scores import fit_tier
from cascadia_sglang.calibration.fit.statistics import METRICS, RESAMPLES, auroc, ece
from cascadia_sglang.calibration.record.pool import Pool, TierAnswers
from cascadia_sglang.judge.calibration import Calibration
from cascadia_sglang.judge.features import earlier_features
from cascadia_sglang.judge.probe import probe_log_odds
from demo.calibrate import committed
from demo.calibrate.answers import complete_chunks, load_pool

BENCH = "calibration"
MIN_PROMPTS = 5_000
CHECKPOINTS = (2, 4, 8, 16)
MIN_RUNNING = 500  # answers of a checkpoint that are measured

MetricEstimate = tuple[str, str, Estimate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What one tier is asked of one split: columns of the logits, hidden states, the outcome."""

    columns_NG: FloatArray
    hidden_NH: FloatArray
    right_N: BoolArray

    def take(self, rows: FloatArray | BoolArray) -> Answers:
        return Answers(
            columns_NG=self.columns_NG[rows],
            hidden_NH=self.hidden_NH[rows],
            right_N=self.right_N[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedSplit:
    """A split behind the demo's committed calibrations and thresholds.

    Attributes:
        known_NJ: scores of the earlier tiers, NaN where ended early.
        accepted_N: whether this tier's committed score reaches its threshold.
    """

    answers: TierAnswers
    hidden: HiddenStates
    known_NJ: FloatArray
    reached_N: BoolArray
    accepted_N: BoolArray

    def finished(self, kind: str) -> Answers:
        """All answers at their end; `kind` of hidden state is last or mean."""
        hidden_NH = self.hidden.last_NH if kind == "last" else self.hidden.mean_NH
        return Answers(
            columns_NG=self._columns(self.answers.features_NF),
            hidden_NH=hidden_NH,
            right_N=self.answers.right_N,
        )

    def after(self, tokens: int) -> tuple[Answers, BoolArray]:
        """All answers after some tokens, the outcome being acceptance; which of them still ran."""
        rows_NF = self.answers.prefix_NF[tokens]
        answers = Answers(
            columns_NG=self._columns(rows_NF),
            hidden_NH=self.hidden.prefix_NH[tokens],
            right_N=self.accepted_N,
        )
        return answers, np.isfinite(rows_NF).all(1)

    def _columns(self, rows_NF: FloatArray) -> FloatArray:
        return np.column_stack((rows_NF, earlier_features(self.known_NJ)))


def served(pool: Pool, hidden: HiddenStates, tier: int) -> ServedSplit:
    """What reaches a tier of the demo."""
    thresholds, replay = committed.thresholds(), committed.replay(pool)
    outcome = replay.serve(thresholds)
    return ServedSplit(
        answers=pool.tiers[tier],
        hidden=hidden,
        known_NJ=replay.known_scores(thresholds[:tier]),
        reached_N=outcome.reached_NT[:, tier],
        accepted_N=outcome.score_NT[:, tier] >= thresholds[tier],
    )


def scores(
    fitting: Answers, counted_N: BoolArray, known_NJ: FloatArray, answered: Answers
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Of the asked answers: by logits, with the probe beside them, by the probe alone.

    Args:
        fitting: of the calibration split.
        counted_N: the answers of it that fit: those that reach the tier.
    """
    rows_N = counted_N & np.isfinite(fitting.columns_NG).all(1)
    rows = fitting.take(rows_N)
    width = fitting.columns_NG.shape[1] - 2 * known_NJ.shape[1]
    answers = TierAnswers(
        features_NF=rows.columns_NG[:, :width], prefix_NF={}, right_N=rows.right_N
    )
    logits = fit_tier(answers, known_NJ[rows_N])
    parameters, _ = fit_probe(rows.hidden_NH, rows.right_N)
    both = with_probe(logits, rows.columns_NG, rows.hidden_NH, rows.right_N)
    return (
        sigmoid(log_odds(logits, answered)),
        sigmoid(log_odds(both, answered)),
        sigmoid(probe_log_odds(answered.hidden_NH, parameters)),
    )


def log_odds(calibration: Calibration, answers: Answers) -> FloatArray:
    """Of the score of each answer."""
    standard_NG = (answers.columns_NG - np.array(calibration.mean)) / np.array(calibration.scale)
    odds_N: FloatArray = standard_NG @ np.array(calibration.weights) + calibration.bias
    if calibration.probe is not None:
        parameters = calibration.probe.unpacked()
        odds_N = odds_N + calibration.probe.weight * probe_log_odds(answers.hidden_NH, parameters)
    return odds_N


def tier_estimates(
    name: str, fitting: ServedSplit, asking: ServedSplit
) -> Iterator[MetricEstimate]:
    """At the end of the answers, for both kinds of hidden state, and on the way."""
    reached_N = asking.reached_N & np.isfinite(asking.answers.features_NF).all(1)
    for kind in ("last", "mean"):
        answers = asking.finished(kind).take(reached_N)
        by_logits_N, with_probe_N, alone_N = scores(
            fitting.finished(kind), fitting.reached_N, fitting.known_NJ, answers
        )
        for metric in ("auroc", "ece", "brier"):
            comparison = paired(
                METRICS[metric], by_logits_N, with_probe_N, answers.right_N, RESAMPLES
            )
            yield f"{name} by logits", metric, comparison.before
            yield f"{name} with probe of {kind}", metric, comparison.after
            yield f"{name} gain of probe of {kind}", metric, comparison.gain
        count = len(answers.right_N)
        alone = (("auroc", auroc), ("ece", ece))
        for metric, of in alone:
            value = Estimate(p50=of(alone_N, answers.right_N), n=count)
            yield f"{name} probe of {kind} alone", metric, value
    for tokens in CHECKPOINTS:
        fitted, _ = fitting.after(tokens)
        every, runs_N = asking.after(tokens)
        answers = every.take(asking.reached_N & runs_N)
        if min(answers.right_N.sum(), (~answers.right_N).sum()) < MIN_RUNNING / 10:
            continue
        if len(answers.right_N) < MIN_RUNNING:
            continue
        by_logits_N, with_probe_N, _ = scores(fitted, fitting.reached_N, fitting.known_NJ, answers)
        for metric in ("auroc", "ece"):
            comparison = paired(
                METRICS[metric], by_logits_N, with_probe_N, answers.right_N, RESAMPLES
            )
            yield f"{name} after {tokens} tokens by logits", metric, comparison.before
            yield f"{name} after {tokens} tokens with probe", metric, comparison.after
            yield f"{name} after {tokens} tokens gain of probe", metric, comparison.gain


def main() -> None:
    """Measure every probed tier."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--smoke", action="store_true", help="any number of prompts; writes nothing"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    chunks = {s: complete_hidden(s, complete_chunks(s)) for s in ("calibration", "test")}
    pools = {split: load_pool(split, chunks[split]) for split in chunks}
    if len(pools["test"]) < MIN_PROMPTS and not args.smoke:
        sys.exit(
            f"hidden states of {len(pools['test'])} prompts are there, {MIN_PROMPTS} needed: "
            "bench.calibration.hidden"
        )
    facts = facts_of_this_run("bench.calibration.probe")
    case = f"probe, {len(pools['calibration'])} to fit, {len(pools['test'])} prompts of test split"
    rows = []
    for tier, name in enumerate(PROBED):
        of_split = {
            split: served(pool, load_hidden(split, chunks[split], name), tier)
            for split, pool in pools.items()
        }
        for variant, metric, value in tier_estimates(
            name, of_split["calibration"], of_split["test"]
        ):
            row = make_row(
                facts, bench=BENCH, case=case, variant=variant, metric=metric, unit="1", value=value
            )
            rows.append(row)
            print(f"{variant}: {metric} {row.p50} [{row.low95}, {row.high95}] n={row.n}")
    if not args.smoke:
        save_rows(RESULTS / f"{BENCH}.csv", rows)


if __name__ == "__main__":
    main()
