"""Fits a probe of hidden states, and a score that counts it beside the logits' features.

The probe is linear in the normalised hidden state. A hidden layer would learn the answers by heart:
they are a few thousand, of thousands of values each. Cross-validation chooses the penalty, and the
score is fitted on what probes say of answers that they have not seen.

Shape legend: N answers, H hidden size, R directions, G columns of the logits' features.
"""

from collections.abc import Iterator

import msgspec
import numpy as np

from cascadia_sglang.arrays import BoolArray, FloatArray
from cascadia_sglang.calibration.fit.logistic import fit_logistic
from cascadia_sglang.judge.calibration import Calibration
from cascadia_sglang.judge.probe import LOG_ODDS_LIMIT, ProbeParameters, normalised, packed

PENALTIES = (30.0, 100.0, 300.0, 1000.0)
MAX_DIRECTIONS = 1024
_FOLDS = 5
_SEED = 0
_MIN_SPREAD = 1e-6


def fit_probe(hidden_NH: FloatArray, right_N: BoolArray) -> tuple[ProbeParameters, FloatArray]:
    """A linear probe, and the log-odds [N] that probes fitted without each answer give it.

    Args:
        hidden_NH: finite, of answers of which some are right and some wrong.
    """
    normed_NH = normalised(hidden_NH)
    mean_H, spread_H = normed_NH.mean(axis=0), normed_NH.std(axis=0)
    scale_H = np.where(spread_H > _MIN_SPREAD, spread_H, 1.0)
    x_NH = (normed_NH - mean_H) / scale_H
    # The penalised weights lie in the span of the rows, which has few directions if N is small.
    _, _, directions_RH = np.linalg.svd(x_NH, full_matrices=False)
    directions_RH = directions_RH[:MAX_DIRECTIONS]
    x_NR = x_NH @ directions_RH.T
    odds = {penalty: _left_out(x_NR, right_N, penalty) for penalty in PENALTIES}
    best = min(PENALTIES, key=lambda penalty: _log_loss(odds[penalty], right_N))
    weights_R, bias = fit_logistic(x_NR, right_N, best)
    return _as_network(weights_R @ directions_RH, bias, mean_H, scale_H), odds[best]


def with_probe(
    calibration: Calibration, columns_NG: FloatArray, hidden_NH: FloatArray, right_N: BoolArray
) -> Calibration:
    """The same tier's calibration with a score that counts a probe; its prefix models stay.

    It has no probe where that would say the same of all answers or count against what it says: it
    knows nothing then. Nor where there are fewer right or wrong answers than folds.

    Args:
        columns_NG: raw columns of the answers, in the order of the calibration's features.
        hidden_NH: finite, of the same answers.
    """
    if min(right_N.sum(), (~right_N).sum()) < _FOLDS:
        return calibration
    parameters, log_odds_N = fit_probe(hidden_NH, right_N)
    mean, scale = float(log_odds_N.mean()), float(log_odds_N.std())
    if scale < _MIN_SPREAD:
        return calibration
    scale_G, mean_G = np.array(calibration.scale), np.array(calibration.mean)
    x_NG = np.column_stack(((columns_NG - mean_G) / scale_G, (log_odds_N - mean) / scale))
    weights, bias = fit_logistic(x_NG, right_N)
    weight = float(weights[-1]) / scale
    if weight <= 0.0:
        return calibration
    return msgspec.structs.replace(
        calibration,
        weights=weights[:-1].tolist(),
        bias=bias - weight * mean,
        probe=packed(parameters, weight),
    )


def _left_out(x_NR: FloatArray, right_N: BoolArray, penalty: float) -> FloatArray:
    """Of every answer, by a fit to the other folds, cut like a probe's, [N]."""
    odds_N = np.empty(len(right_N))
    for is_out_N in _folds(right_N):
        weights_R, bias = fit_logistic(x_NR[~is_out_N], right_N[~is_out_N], penalty)
        odds_N[is_out_N] = x_NR[is_out_N] @ weights_R + bias
    cut_N: FloatArray = np.clip(odds_N, -LOG_ODDS_LIMIT, LOG_ODDS_LIMIT)
    return cut_N


def _folds(right_N: BoolArray) -> Iterator[BoolArray]:
    """Which answers each fold leaves out; every fold has its share of right answers."""
    fold_N = np.empty(len(right_N), dtype=np.int64)
    rng = np.random.default_rng(_SEED)
    for is_kind_N in (right_N, ~right_N):
        rows = rng.permutation(np.flatnonzero(is_kind_N))
        fold_N[rows] = np.arange(len(rows)) % _FOLDS
    for fold in range(_FOLDS):
        yield fold_N == fold


def _log_loss(odds_N: FloatArray, right_N: BoolArray) -> float:
    return float(np.logaddexp(0.0, np.where(right_N, -odds_N, odds_N)).mean())


def _as_network(
    weights_H: FloatArray, bias: float, mean_H: FloatArray, scale_H: FloatArray
) -> ProbeParameters:
    """The linear function in the form that the judge's kernel computes.

    Two units are enough, because silu(x) - silu(-x) = x.
    """
    return ProbeParameters(
        norm_weight_H=1.0 / scale_H,
        norm_bias_H=-mean_H / scale_H,
        first_HU=np.column_stack((weights_H, -weights_H)),
        first_bias_U=np.zeros(2),
        second_U=np.array([1.0, -1.0]),
        second_bias_1=np.array([bias]),
    )
