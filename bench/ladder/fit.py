"""Fits the calibration files of the ladder's tiers, each seeing the score of the tier before.

    python -m bench.ladder.fit

Both splits are decoded greedily: the calibration split fits, the test split reports.
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
from cascadia_sglang.judge.features import FEATURES

L2 = 1.0  # on standardised weights, against the sum over rows of the log loss
NEWTON_STEPS = 50
MIN_PREFIX_ROWS = 200
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)


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


def fit_calibration(seen: Observation, previous_N: FloatArray) -> Calibration:
    """Fit the score and the prefix models; the report is left empty."""
    features_NF = seen.features(previous_N)
    mean_F, spread_F = features_NF.mean(0), features_NF.std(0)
    scale_F = np.where(spread_F > 1e-9, spread_F, 1.0)
    x_NF = (features_NF - mean_F) / scale_F
    weights_F, bias = fit_logistic(x_NF, seen.correct_N)
    log_odds_N = x_NF @ weights_F + bias
    prefix = []
    for tokens in CHECKPOINTS:
        running_N = seen.longer_than(tokens)
        if running_N.sum() < MIN_PREFIX_ROWS:
            continue
        prefix_NF = seen.prefix_features(tokens, previous_N, running_N)
        model = fit_ridge((prefix_NF - mean_F) / scale_F, log_odds_N[running_N])
        prefix.append(
            PrefixModel(
                tokens=tokens, weights=model[0].tolist(), bias=model[1], residual_sd=model[2]
            )
        )
    return Calibration(
        version=1,
        features=list(FEATURES),
        mean=mean_F.tolist(),
        scale=scale_F.tolist(),
        weights=weights_F.tolist(),
        bias=bias,
        prefix=prefix,
        samples=len(x_NF),
        report={},
    )


def scores(calibration: Calibration, seen: Observation, previous_N: FloatArray) -> FloatArray:
    """Final scores [N] as a worker computes them."""
    model = ScoreModel(calibration)
    return np.array([model.score(features_F) for features_F in seen.features(previous_N)])


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


def threshold_table(score_TN: Sequence[FloatArray], right_TN: Sequence[BoolArray]) -> str:
    """A markdown table: what one threshold for all tiers but the last does.

    Args:
        score_TN, right_TN: of each tier, smallest first; the last one's score decides nothing.
    """
    lines = ["| threshold | answered by each tier | accuracy of cascade |", "|---|---|---|"]
    for threshold in THRESHOLDS:
        waiting_N = np.ones(len(right_TN[0]), dtype=bool)
        right_N = np.zeros(len(right_TN[0]), dtype=bool)
        shares = []
        for tier, (score_N, tier_right_N) in enumerate(zip(score_TN, right_TN, strict=True)):
            is_last = tier == len(right_TN) - 1
            kept_N = waiting_N if is_last else waiting_N & (score_N >= threshold)
            right_N |= kept_N & tier_right_N
            waiting_N = waiting_N & ~kept_N
            shares.append(f"{kept_N.mean():.3f}")
        lines.append(f"| {threshold} | {', '.join(shares)} | {right_N.mean():.4f} |")
    return "\n".join(lines)


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
    fit_previous_N = test_previous_N = np.full(args.rows, np.nan)
    reached_N = np.ones(args.rows, dtype=bool)
    right, scored = [], []
    for name in TIERS:
        fit_seen = observe(LADDER / name, fit_rows)
        test_seen = observe(LADDER / name, test_rows)
        calibration = fit_calibration(fit_seen, fit_previous_N)
        fit_previous_N = scores(calibration, fit_seen, fit_previous_N)
        test_previous_N = scores(calibration, test_seen, test_previous_N)
        told = report(test_seen, test_previous_N, reached_N)
        save_calibration(
            msgspec.structs.replace(calibration, report=told), LADDER / name / "calibration.json"
        )
        print(name, " ".join(f"{key} {value:.4g}" for key, value in told.items()), flush=True)
        right.append(test_seen.correct_N)
        scored.append(test_previous_N)
        reached_N = reached_N & (test_previous_N < args.threshold)
    print(threshold_table(scored, right))


if __name__ == "__main__":
    main()
