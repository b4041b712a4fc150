"""Fits the calibration files of the ladder's tiers, each seeing the scores of the tiers before.

    python -m bench.ladder.fit

Both splits are decoded greedily: the calibration split fits, the test split reports. Serving ends
hopeless attempts early, and then no final score of that tier is known to the tiers above. The fit
sees as many such answers: every row has a threshold of its own, at which the tiers before are
served.

Shape legend: N rows, F base features, G columns with those of the earlier tiers, J earlier tiers.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import msgspec
import numpy as np
import torch

from bench.ladder.export import LADDER
from bench.ladder.metrics import BoolArray, FloatArray, auroc, brier, ece
from bench.ladder.observe import CHECKPOINTS, Observation, observe
from bench.ladder.splits import sample
from bench.ladder.tiers import TIERS
from cascadia_sglang.judge import state
from cascadia_sglang.judge.calibration import (
    Calibration,
    PrefixModel,
    ScoreModel,
    save_calibration,
)
from cascadia_sglang.judge.features import FEATURES, earlier_features, earlier_names

L2 = 1.0  # on standardised weights, against the sum over rows of the log loss
NEWTON_STEPS = 50
MIN_PREFIX_ROWS = 200
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
EARLY_ABORT = 0.05  # the cascade's default
DRAWN_THRESHOLDS = (0.5, 0.95)  # ends of the uniform distribution of a row's threshold
QUANTILES = np.linspace(0.0, 1.0, 101)


def fit_logistic(x_NF: FloatArray, right_N: BoolArray) -> tuple[FloatArray, float]:
    """Weights [F] and bias of an L2-regularised logistic regression, by Newton's method."""
    ones_NG = np.column_stack((x_NF, np.ones(len(x_NF))))
    penalty_G = np.append(np.full(x_NF.shape[1], L2), 1e-6)
    weights_G = np.zeros(len(penalty_G))
    for _ in range(NEWTON_STEPS):
        chance_N = 1 / (1 + np.exp(-np.clip(ones_NG @ weights_G, -30, 30)))
        gradient_G = ones_NG.T @ (chance_N - right_N) + penalty_G * weights_G
        curvature_NG = ones_NG * (chance_N * (1 - chance_N))[:, None]
        step_G = np.linalg.solve(ones_NG.T @ curvature_NG + np.diag(penalty_G), gradient_G)
        weights_G -= step_G
        if np.abs(step_G).max() < 1e-9:
            break
    return weights_G[:-1], float(weights_G[-1])


def fit_ridge(x_NF: FloatArray, target_N: FloatArray) -> tuple[FloatArray, float, float]:
    """Weights [F], bias and residual standard deviation of a ridge regression."""
    mean_F, center = x_NF.mean(0), float(target_N.mean())
    centred_NF = x_NF - mean_F
    gram_FF = centred_NF.T @ centred_NF + L2 * np.eye(x_NF.shape[1])
    weights_F = np.linalg.solve(gram_FF, centred_NF.T @ (target_N - center))
    bias = center - float(mean_F @ weights_F)
    return weights_F, bias, float(np.std(target_N - x_NF @ weights_F - bias))


def fit_calibration(seen: Observation, earlier_NJ: FloatArray) -> Calibration:
    """Fit the score and the prefix models; report and quantiles are left empty.

    Args:
        earlier_NJ: scores of the tiers before, NaN where unknown.
    """
    earlier_NE = earlier_features(earlier_NJ)
    columns_NG = np.column_stack((seen.features(), earlier_NE))
    mean_G, spread_G = columns_NG.mean(0), columns_NG.std(0)
    scale_G = np.where(spread_G > 1e-9, spread_G, 1.0)
    x_NG = (columns_NG - mean_G) / scale_G
    weights_G, bias = fit_logistic(x_NG, seen.correct_N)
    log_odds_N = x_NG @ weights_G + bias
    prefix = []
    for tokens in CHECKPOINTS:
        running_N = seen.longer_than(tokens)
        if running_N.sum() < MIN_PREFIX_ROWS:
            continue
        prefix_NG = np.column_stack((seen.prefix_features(tokens), earlier_NE[running_N]))
        model = fit_ridge((prefix_NG - mean_G) / scale_G, log_odds_N[running_N])
        prefix.append(
            PrefixModel(
                tokens=tokens, weights=model[0].tolist(), bias=model[1], residual_sd=model[2]
            )
        )
    return Calibration(
        version=2,
        features=[*FEATURES, *earlier_names(earlier_NJ.shape[1])],
        mean=mean_G.tolist(),
        scale=scale_G.tolist(),
        weights=weights_G.tolist(),
        bias=bias,
        prefix=prefix,
        samples=len(x_NG),
        constrained_samples=0,
        score_quantiles=[0.0, 1.0],
        report={},
    )


def serve(
    calibration: Calibration, seen: Observation, earlier_NJ: FloatArray, threshold_N: FloatArray
) -> tuple[FloatArray, BoolArray]:
    """Final scores [N] as a worker computes them, and which attempts it would have ended early."""
    model = ScoreModel(calibration)
    earlier = [[None if np.isnan(score) else score for score in row_J] for row_J in earlier_NJ]
    pairs = zip(seen.features(), earlier, strict=True)
    score_N = np.array([model.score(features_F, before) for features_F, before in pairs])
    ended_N = np.zeros(len(score_N), dtype=bool)
    for tokens in (prefix.tokens for prefix in calibration.prefix):
        running = np.flatnonzero(seen.longer_than(tokens))
        for row, features_F in zip(running, seen.prefix_features(tokens), strict=True):
            chance = model.chance_of_acceptance(tokens, features_F, threshold_N[row], earlier[row])
            ended_N[row] |= chance < EARLY_ABORT
    return score_N, ended_N


def serve_all(
    calibrations: Sequence[Calibration], seen: Sequence[Observation], threshold_N: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Final scores of every tier, and what the tiers above know of them: NaN where ended early.

    Both are [N, tiers].
    """
    score_NJ = known_NJ = np.empty((len(threshold_N), 0))
    for calibration, observation in zip(calibrations, seen, strict=True):
        score_N, ended_N = serve(calibration, observation, known_NJ, threshold_N)
        score_NJ = np.column_stack((score_NJ, score_N))
        known_NJ = np.column_stack((known_NJ, np.where(ended_N, np.nan, score_N)))
    return score_NJ, known_NJ


def report(seen: Observation, score_N: FloatArray, reached_N: BoolArray) -> dict[str, float]:
    """What the calibration file says about rows that did not fit it.

    Args:
        reached_N: rows that the tiers before pass on; what ends in `_reached` counts these alone.
    """
    right_N, final_NS = seen.correct_N, seen.final_NS
    mean_logprob_N = final_NS[:, state.SUM_LOGPROB] / final_NS[:, state.COUNT]
    told = {
        "held_out": float(len(right_N)),
        "accuracy": float(right_N.mean()),
        "auroc": auroc(score_N, right_N),
        "brier": brier(score_N, right_N),
        "ece": ece(score_N, right_N),
    }
    if not reached_N.all():
        told["reached"] = float(reached_N.sum())
        told["accuracy_reached"] = float(right_N[reached_N].mean())
        told["auroc_reached"] = auroc(score_N[reached_N], right_N[reached_N])
        told["ece_reached"] = ece(score_N[reached_N], right_N[reached_N])
    told["auroc_reached_of_length"] = auroc(-final_NS[reached_N, state.COUNT], right_N[reached_N])
    told["auroc_reached_of_mean_logprob"] = auroc(mean_logprob_N[reached_N], right_N[reached_N])
    return told


def table_row(threshold: float, known_NJ: FloatArray, right_NJ: BoolArray) -> str:
    """A row of a markdown table: what one threshold for all tiers but the last does.

    Args:
        known_NJ: scores at this threshold, NaN where the attempt was ended early; the last tier's
            decide nothing.
    """
    waiting_N = np.ones(len(right_NJ), dtype=bool)
    right_N = np.zeros(len(right_NJ), dtype=bool)
    shares = []
    for tier, (known_N, tier_right_N) in enumerate(zip(known_NJ.T, right_NJ.T, strict=True)):
        is_last = tier == right_NJ.shape[1] - 1
        kept_N = waiting_N if is_last else waiting_N & (known_N >= threshold)
        right_N |= kept_N & tier_right_N
        waiting_N = waiting_N & ~kept_N
        shares.append(f"{kept_N.mean():.3f}")
    return f"| {threshold} | {', '.join(shares)} | {right_N.mean():.4f} |"


def main() -> None:
    """Fit every tier's calibration file and print how good the scores are."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--threshold", type=float, default=0.9, help="of the tiers before, in what a report counts"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    fit_rows = sample("calibration", args.seed, args.rows)
    test_rows = sample("test", args.seed, args.rows)
    drawn_N = np.random.default_rng(args.seed).uniform(*DRAWN_THRESHOLDS, args.rows)
    report_at_N = np.full(args.rows, args.threshold)
    fit_seen: list[Observation] = []
    test_seen: list[Observation] = []
    calibrations: list[Calibration] = []
    reached_N = np.ones(args.rows, dtype=bool)
    for name in TIERS:
        _, earlier_NJ = serve_all(calibrations, fit_seen, drawn_N)
        fit_seen.append(observe(LADDER / name, fit_rows))
        test_seen.append(observe(LADDER / name, test_rows))
        calibrations.append(fit_calibration(fit_seen[-1], earlier_NJ))
        score_NJ, known_NJ = serve_all(calibrations, test_seen, report_at_N)
        told = report(test_seen[-1], score_NJ[:, -1], reached_N)
        finished_N = reached_N & ~np.isnan(known_NJ[:, -1])
        quantiles = np.quantile(score_NJ[finished_N, -1], QUANTILES).round(6)
        save_calibration(
            msgspec.structs.replace(
                calibrations[-1], score_quantiles=quantiles.tolist(), report=told
            ),
            LADDER / name / "calibration.json",
        )
        print(name, " ".join(f"{key} {value:.4g}" for key, value in told.items()), flush=True)
        reached_N = reached_N & ~(known_NJ[:, -1] >= args.threshold)
    right_NJ = np.column_stack([seen.correct_N for seen in test_seen])
    print("| threshold | answered by each tier | accuracy of cascade |\n|---|---|---|")
    for threshold in THRESHOLDS:
        _, known_NJ = serve_all(calibrations, test_seen, np.full(args.rows, threshold))
        print(table_row(threshold, known_NJ, right_NJ))


if __name__ == "__main__":
    main()
