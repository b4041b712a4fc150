"""What a server learns from its own labels alone, beside `cascadia calibrate` on the same prompts.

Traffic is drawn from stored answers of half of the prompts; the labels are those that a server
would take of it: three of ten prompts climb, two of a hundred accepted answers are looked at.
Scores are measured on the other half, against agreement with the last tier and against truth. The
bound's coverage is that of streams drawn from all prompts, where the true disagreement is known.

Example:
    python -m demo.calibrate.answers --split test --chunks 3
    python -m bench.calibration.self_calibration           # writes rows to bench/results
    python -m bench.calibration.self_calibration --smoke   # made-up answers; writes nothing
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bench import RESULTS
from bench.calibration.answer_pairs import AnswerPairs, demo_pairs, made_up_pairs, real_pairs
from bench.harness.estimates import Estimate, spread
from bench.harness.rows import CaseRows, Row, facts_of_this_run, save_rows
from cascadia_sglang.arrays import BoolArray, FloatArray
from cascadia_sglang.calibration.fit.calibrate import Settings, calibrate
from cascadia_sglang.calibration.fit.replay import TierReplay, sigmoid
from cascadia_sglang.calibration.fit.statistics import auroc, ece
from cascadia_sglang.calibration.fit.thresholds import Target
from cascadia_sglang.judge.builtin_rank import WEIGHTS
from cascadia_sglang.judge.calibration import Calibration
from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.self_calibration.fit import Fitting, TierFit, fit_labels
from cascadia_sglang.self_calibration.label import Label, VisitLabel, first_rates

BENCH = "self_calibration"
CLIMB, LABEL_RATE, CONFIDENCE = 0.3, 0.02, 0.95
REQUESTS = (10_000, 20_000, 40_000)
STREAMS, COVERAGE_STREAMS = 20, 200
_RANK_F = np.array([WEIGHTS.get(name, 0.0) for name in FEATURES])

Score = Callable[[AnswerPairs], FloatArray]


def labels_of(pairs: AnswerPairs, requests: int, seed: int, *, keys_repeat: bool) -> list[Label]:
    """The labels of a stream of requests, drawn with replacement.

    Args:
        keys_repeat: whether a prompt that is drawn twice is the same prompt to the fit.
    """
    rng = np.random.default_rng(seed)
    rates = first_rates(LABEL_RATE)
    rank_N = rank(pairs)
    climbs_N = rank_N < np.quantile(rank_N, CLIMB)
    drawn = rng.integers(len(pairs), size=requests)
    climbs = climbs_N[drawn]
    labelled = np.flatnonzero(climbs | (rng.random(requests) < rates.accepted))
    return [
        Label(
            prompt=f"{row}" if keys_repeat else f"{seed}-{number}",
            chance=rates.attempts if climbs[number] else rates.least_chance,
            least_chance=rates.least_chance,
            draw=float(draw),
            visits=[
                VisitLabel(
                    tier=0,
                    tokens=[1],
                    features=[pairs.features_NF[row].tolist()],
                    same=bool(pairs.same_N[row]),
                )
            ],
        )
        for number, row, draw in zip(
            labelled, drawn[labelled], rng.random(len(labelled)), strict=True
        )
    ]


def rank(pairs: AnswerPairs) -> FloatArray:
    """The built-in rank of every answer."""
    return sigmoid(pairs.features_NF @ _RANK_F)


def score_of(calibration: Calibration) -> Score:
    """A calibration as a score of answers."""
    none = np.empty

    def score(pairs: AnswerPairs) -> FloatArray:
        replay = TierReplay(calibration, pairs.answers(pairs.same_N), None)
        return sigmoid(replay.log_odds(none((len(pairs), 0))))

    return score


def fit(labels: Sequence[Label]) -> TierFit:
    """What a server would make of the labels."""
    ranked = Fitting(tier=0, share=CLIMB, calibration=None, fits=True)
    [tier_fit] = fit_labels(labels, [ranked], None, 1.0 - CONFIDENCE).tiers
    return tier_fit


def calibrated(pairs: AnswerPairs, *, by_agreement: bool) -> Score:
    """What `cascadia calibrate` makes of the same prompts."""
    settings = Settings(
        tier_names=("small", "large"),
        tier_cost=(1.0, 10.0),
        target=Target(kind="escalation_rate", value=CLIMB),
        early_abort=None,
    )
    cascade = calibrate(pairs.pool(by_agreement=by_agreement), settings)
    return score_of(cascade.calibrations[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """AUROC and ECE of one score on prompts that shaped nothing of it."""

    against: str
    auroc: float
    ece: float


def measured(score: Score, pairs: AnswerPairs) -> Iterator[Measurement]:
    """Against agreement with the last tier, and against truth."""
    score_N = score(pairs)
    for against, right_N in (("agreement", pairs.same_N), ("truth", pairs.right_N)):
        yield Measurement(against=against, auroc=auroc(score_N, right_N), ece=ece(score_N, right_N))


def halves(pairs: AnswerPairs) -> tuple[AnswerPairs, AnswerPairs]:
    """Prompts of the traffic, and those that measure."""
    order = np.random.default_rng(1).permutation(len(pairs))
    return pairs.take(order[::2]), pairs.take(order[1::2])


def quality(rows: CaseRows, pairs: AnswerPairs, requests: Sequence[int], streams: int) -> None:
    """Every score's AUROC and ECE on the measuring half."""
    traffic, measuring = halves(pairs)
    scores: dict[str, list[Score]] = {"rank": [rank]}
    scores["calibrate on truth"] = [calibrated(traffic, by_agreement=False)]
    scores["calibrate on agreement"] = [calibrated(traffic, by_agreement=True)]
    for count in requests:
        name = f"self-calibrated after {count} requests"
        fits = [fit(labels_of(traffic, count, s, keys_repeat=True)) for s in range(streams)]
        refused = sum(tier_fit.calibration is None for tier_fit in fits)
        rows.add(name, "refused_fits", "1", Estimate(p50=refused, n=streams))
        effective = [
            tier_fit.quality.effective for tier_fit in fits if tier_fit.quality is not None
        ]
        if effective:
            rows.add(name, "effective_labels", "1", spread(effective))
        scores[name] = [
            score_of(tier_fit.calibration) for tier_fit in fits if tier_fit.calibration is not None
        ]
    for name, of_name in scores.items():
        results = [result for score in of_name for result in measured(score, measuring)]
        for against in ("agreement", "truth"):
            against_this = [result for result in results if result.against == against]
            if not against_this:
                continue
            rows.add(
                name,
                f"auroc_against_{against}",
                "1",
                spread([result.auroc for result in against_this]),
            )
            if name != "rank":
                rows.add(
                    name,
                    f"ece_against_{against}",
                    "1",
                    spread([result.ece for result in against_this]),
                )


def coverage(rows: CaseRows, pairs: AnswerPairs, requests: int, streams: int) -> None:
    """How often the bound on disagreement does not hold."""
    bounds, true, broken = [], [], 0
    for seed in range(streams):
        tier_fit = fit(labels_of(pairs, requests, 1_000 + seed, keys_repeat=False))
        if tier_fit.quality is None or tier_fit.quality.bound is None:
            continue
        score_N = (rank if tier_fit.calibration is None else score_of(tier_fit.calibration))(pairs)
        differs = _share(~pairs.same_N[score_N >= tier_fit.quality.threshold])
        bounds.append(tier_fit.quality.bound)
        true.append(differs)
        broken += differs > tier_fit.quality.bound
    name = f"coverage after {requests} requests"
    rows.add(name, "bounds", "1", Estimate(p50=len(bounds), n=streams))
    rows.add(name, "bounds_broken", "1", Estimate(p50=broken, n=len(bounds)))
    if bounds:
        rows.add(name, "bound_on_disagreement", "1", spread(bounds))
        rows.add(name, "true_disagreement", "1", spread(true))


def _share(differs: BoolArray) -> float:
    return float(differs.mean()) if len(differs) else 0.0


def main() -> None:
    """Measure on stored answers, or on made-up ones."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="made-up answers; writes nothing")
    parser.add_argument("--real", action="store_true", help="the recorded answers of bench.real")
    parser.add_argument("--streams", type=int, default=COVERAGE_STREAMS)
    args = parser.parse_args()
    facts = facts_of_this_run("bench.calibration.self_calibration")
    rows: list[Row] = []
    if args.smoke:
        cases = [made_up_pairs(4_000)]
    else:
        cases = [real_pairs()] if args.real else [demo_pairs("small"), demo_pairs("middle")]
    for pairs in cases:
        case_rows = CaseRows(facts, BENCH, f"{pairs.name}, {len(pairs)} prompts")
        share = Estimate(p50=float(pairs.same_N.mean()), n=len(pairs))
        case_rows.add("answers", "agree_with_the_last_tier", "1", share)
        quality(
            case_rows,
            pairs,
            REQUESTS[1:2] if args.smoke else REQUESTS,
            2 if args.smoke else STREAMS,
        )
        coverage(case_rows, pairs, REQUESTS[1], 4 if args.smoke else args.streams)
        rows += case_rows.rows
    if not args.smoke:
        save_rows(RESULTS / f"{BENCH}.csv", rows)


if __name__ == "__main__":
    main()
