"""Fits a probe of hidden states, and a score that counts it beside the logits' features.

The probe is linear in the normalised hidden state. A hidden layer would learn the answers by heart:
they are a few thousand, of thousands of values each. Cross-validation chooses the penalty, and the
score is fitted on what probes say of answers that they have not seen. Cross-validation also decides
whether the probe is used: where the score with it has a lower log loss than the score without it,
beyond chance. Answers to equal prompts are left out together: a probe would know them by heart.

Shape legend: N answers, K prompts, H hidden size, R directions, G columns of the logits' features.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from cascadia_sglang.arrays import BoolArray, FloatArray, RowArray
from cascadia_sglang.calibration.fit.logistic import fit_logistic
from cascadia_sglang.judge.calibration import Calibration
from cascadia_sglang.judge.probe import LOG_ODDS_LIMIT, ProbeParameters, normalised, packed

PENALTIES = (30.0, 100.0, 300.0, 1000.0)
MAX_DIRECTIONS = 1024
_FOLDS = 5
_NORMAL_97_5 = 1.96
_SEED = 0
_MIN_SPREAD = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeTrial:
    """What a probe was worth on answers that the fits had not seen.

    Attributes:
        answers: of the fit, whose hidden state is known.
        loss_without, loss_with: mean log loss of the score; NaN where no probe could be fitted.
        gain_low95: lower end of the 95 % interval of the difference, normal in its mean; NaN
            likewise.
        probed_N: the probe's log-odds of every answer of the part, by a fit without it; NaN where
            the hidden state is not known.
    """

    answers: int
    loss_without: float = math.nan
    loss_with: float = math.nan
    gain_low95: float = math.nan
    probed_N: FloatArray

    @property
    def is_used(self) -> bool:
        return self.gain_low95 > 0.0


@dataclass(frozen=True, slots=True)
class _ScoreWithProbe:
    """A score that counts a probe.

    Attributes:
        x_NC: standardised columns of the score, the probe's log-odds last.
        probed_N: these log-odds as they are.
    """

    calibration: Calibration
    x_NC: FloatArray
    probed_N: FloatArray


def fit_probe(
    hidden_NH: npt.NDArray[np.floating], right_N: BoolArray, prompt_N: RowArray | None = None
) -> tuple[ProbeParameters, FloatArray]:
    """A linear probe, and the log-odds [N] that probes fitted without each answer give it.

    Args:
        hidden_NH: finite, of answers of which some are right and some wrong.
        prompt_N: equal for equal prompts; None where no prompt is repeated.
    """
    folds = list(_folds(right_N, prompt_N))
    normed_NH = normalised(hidden_NH)
    mean_H, spread_H = normed_NH.mean(axis=0), normed_NH.std(axis=0)
    scale_H = np.where(spread_H > _MIN_SPREAD, spread_H, 1.0)
    x_NH = (normed_NH - mean_H) / scale_H
    # The penalised weights lie in the span of the rows, which has few directions if N is small.
    _, _, directions_RH = np.linalg.svd(x_NH, full_matrices=False)
    directions_RH = directions_RH[:MAX_DIRECTIONS]
    x_NR = x_NH @ directions_RH.T
    odds = {penalty: _left_out(x_NR, right_N, penalty, folds) for penalty in PENALTIES}
    best = min(PENALTIES, key=lambda penalty: _loss(odds[penalty], right_N).mean())
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
    counted = _counted(calibration, columns_NG, hidden_NH, right_N, None)
    return calibration if counted is None else counted.calibration


def try_probe(
    calibration: Calibration,
    columns_NG: FloatArray,
    hidden_NH: npt.NDArray[np.floating],
    right_N: BoolArray,
    prompt_N: RowArray | None = None,
) -> tuple[Calibration, ProbeTrial]:
    """The tier's calibration, with a probe if that gains, and what the probe was worth.

    The prefix models of the calibration stay.

    Args:
        columns_NG: raw columns of the answers, in the order of the calibration's features.
        hidden_NH: of the same answers, NaN where it is not known.
        prompt_N: equal for equal prompts; None where no prompt is repeated.
    """
    known_N = np.isfinite(hidden_NH).all(axis=1)
    right_n, prompt_n = right_N[known_N], None if prompt_N is None else prompt_N[known_N]
    counted = _counted(calibration, columns_NG[known_N], hidden_NH[known_N], right_n, prompt_n)
    probed_N = np.full(len(right_N), np.nan)
    if counted is None:
        return calibration, ProbeTrial(answers=len(right_n), probed_N=probed_N)
    folds = list(_folds(right_n, prompt_n))
    without_n, with_n = (_losses(x, right_n, folds) for x in (counted.x_NC[:, :-1], counted.x_NC))
    gain_n = without_n - with_n
    probed_N[known_N] = counted.probed_N
    trial = ProbeTrial(
        answers=len(right_n),
        loss_without=float(without_n.mean()),
        loss_with=float(with_n.mean()),
        gain_low95=float(gain_n.mean()) - _NORMAL_97_5 * _error_of_mean(gain_n, prompt_n),
        probed_N=probed_N,
    )
    return counted.calibration if trial.is_used else calibration, trial


def _counted(
    calibration: Calibration,
    columns_NG: FloatArray,
    hidden_NH: npt.NDArray[np.floating],
    right_N: BoolArray,
    prompt_N: RowArray | None,
) -> _ScoreWithProbe | None:
    first_K, _ = _prompts(len(right_N), prompt_N)
    if min(right_N[first_K].sum(), (~right_N[first_K]).sum()) < _FOLDS:
        return None
    parameters, probed_N = fit_probe(hidden_NH, right_N, prompt_N)
    mean, scale = float(probed_N.mean()), float(probed_N.std())
    if scale < _MIN_SPREAD:
        return None
    scale_G, mean_G = np.array(calibration.scale), np.array(calibration.mean)
    x_NC = np.column_stack(((columns_NG - mean_G) / scale_G, (probed_N - mean) / scale))
    weights, bias = fit_logistic(x_NC, right_N)
    weight = float(weights[-1]) / scale
    if weight <= 0.0:
        return None
    with_it = msgspec.structs.replace(
        calibration,
        weights=weights[:-1].tolist(),
        bias=bias - weight * mean,
        probe=packed(parameters, weight),
    )
    return _ScoreWithProbe(with_it, x_NC, probed_N)


def _losses(x_NC: FloatArray, right_N: BoolArray, folds: Sequence[BoolArray]) -> FloatArray:
    """Log loss of each answer under a score that is fitted without it, [N]."""
    odds_N = np.empty(len(right_N))
    for is_out_N in folds:
        weights, bias = fit_logistic(x_NC[~is_out_N], right_N[~is_out_N])
        odds_N[is_out_N] = x_NC[is_out_N] @ weights + bias
    return _loss(odds_N, right_N)


def _left_out(
    x_NR: FloatArray, right_N: BoolArray, penalty: float, folds: Sequence[BoolArray]
) -> FloatArray:
    """Of every answer, by a fit to the other folds, cut like a probe's, [N]."""
    odds_N = np.empty(len(right_N))
    for is_out_N in folds:
        weights_R, bias = fit_logistic(x_NR[~is_out_N], right_N[~is_out_N], penalty)
        odds_N[is_out_N] = x_NR[is_out_N] @ weights_R + bias
    cut_N: FloatArray = np.clip(odds_N, -LOG_ODDS_LIMIT, LOG_ODDS_LIMIT)
    return cut_N


def _folds(right_N: BoolArray, prompt_N: RowArray | None = None) -> Iterator[BoolArray]:
    """Which answers each fold leaves out; every fold has its share of right answers."""
    first_K, prompt_N = _prompts(len(right_N), prompt_N)
    right_K = right_N[first_K]
    fold_K = np.empty(len(right_K), dtype=np.int64)
    rng = np.random.default_rng(_SEED)
    for is_kind_K in (right_K, ~right_K):
        prompts = rng.permutation(np.flatnonzero(is_kind_K))
        fold_K[prompts] = np.arange(len(prompts)) % _FOLDS
    for fold in range(_FOLDS):
        yield (fold_K == fold)[prompt_N]


def _prompts(count: int, prompt_N: RowArray | None) -> tuple[RowArray, RowArray]:
    """The first answer to each prompt, [K], and the prompt of each answer, from 0 to K - 1, [N]."""
    given_N = np.arange(count) if prompt_N is None else prompt_N
    _, first_K, found_N = np.unique(given_N, return_index=True, return_inverse=True)
    return first_K, found_N


def _error_of_mean(gain_N: FloatArray, prompt_N: RowArray | None) -> float:
    """Standard error of a mean; the prompts are drawn, and bring all their answers."""
    _, found_N = _prompts(len(gain_N), prompt_N)
    sum_K = np.bincount(found_N, weights=gain_N - gain_N.mean())
    return float(np.sqrt(np.square(sum_K).sum())) / len(gain_N)


def _loss(odds_N: FloatArray, right_N: BoolArray) -> FloatArray:
    """Log loss of each answer, [N]."""
    loss_N: FloatArray = np.logaddexp(0.0, np.where(right_N, -odds_N, odds_N))
    return loss_N


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
