"""Fits a probe of hidden states, and a score that counts it beside the logits' features.

The network and the score are fitted on different answers: on its own, a network is surer than it
should be.

Shape legend: N answers, H hidden size, U units, G columns of the logits' features.
"""

import msgspec
import numpy as np
import torch
from torch.nn import functional

from cascadia_sglang.arrays import BoolArray, FloatArray
from cascadia_sglang.calibration.logistic import fit_logistic
from cascadia_sglang.judge.calibration import Calibration
from cascadia_sglang.judge.probe import EPSILON, ProbeParameters, packed, probe_log_odds

UNITS = 16
_HELD_OUT = 0.1  # of the answers: training ends when these no longer gain
_PATIENCE = 8  # epochs without a gain
_EPOCHS = 100
_BATCH = 256
_RATE = 3e-3
_DECAY = 1e-2
_SEED = 0


def fit_probe(hidden_NH: FloatArray, right_N: BoolArray, units: int = UNITS) -> ProbeParameters:
    """Train the network by AdamW on the log loss, with early stopping.

    Args:
        hidden_NH: finite, of answers of which some are right and some wrong.
    """
    generator = torch.Generator().manual_seed(_SEED)
    hidden = torch.tensor(hidden_NH, dtype=torch.float32)
    right = torch.tensor(right_N, dtype=torch.float32)
    order = torch.randperm(len(hidden), generator=generator)
    held, kept = order.split([count := int(len(order) * _HELD_OUT), len(order) - count])
    parameters = _initial(hidden.shape[1], units, generator)
    optimizer = torch.optim.AdamW(parameters, lr=_RATE, weight_decay=_DECAY)
    best_loss, best, idle = np.inf, _copied(parameters), 0
    for _ in range(_EPOCHS):
        shuffled = kept[torch.randperm(len(kept), generator=generator)]
        for rows in shuffled.split(_BATCH):
            optimizer.zero_grad()
            _loss(hidden[rows], right[rows], parameters).backward()
            optimizer.step()
        with torch.no_grad():
            loss = _loss(hidden[held], right[held], parameters).item()
        idle += 1
        if loss < best_loss:
            best_loss, best, idle = loss, _copied(parameters), 0
        if idle == _PATIENCE:
            break
    return best


def with_probe(
    calibration: Calibration,
    columns_NG: FloatArray,
    hidden_NH: FloatArray,
    right_N: BoolArray,
    parameters: ProbeParameters,
) -> Calibration:
    """The same tier's calibration with a score that counts the probe; its prefix models stay.

    Args:
        columns_NG: raw columns of answers that did not fit the probe, in the order of the
            calibration's features.
    """
    scale_G, mean_G = np.array(calibration.scale), np.array(calibration.mean)
    log_odds_N = probe_log_odds(hidden_NH, parameters)
    mean, scale = float(log_odds_N.mean()), float(log_odds_N.std()) or 1.0
    x_NG = np.column_stack(((columns_NG - mean_G) / scale_G, (log_odds_N - mean) / scale))
    weights, bias = fit_logistic(x_NG, right_N)
    weight = float(weights[-1]) / scale
    return msgspec.structs.replace(
        calibration,
        weights=weights[:-1].tolist(),
        bias=bias - weight * mean,
        probe=packed(parameters, weight),
    )


def _initial(hidden: int, units: int, generator: torch.Generator) -> list[torch.Tensor]:
    parameters = [
        torch.ones(hidden),
        torch.zeros(hidden),
        torch.randn(hidden, units, generator=generator) / hidden**0.5,
        torch.zeros(units),
        torch.randn(units, generator=generator) / units**0.5,
        torch.zeros(1),
    ]
    return [parameter.requires_grad_() for parameter in parameters]


def _loss(
    hidden: torch.Tensor, right: torch.Tensor, parameters: list[torch.Tensor]
) -> torch.Tensor:
    norm_weight, norm_bias, first, first_bias, second, second_bias = parameters
    normed = functional.layer_norm(hidden, norm_weight.shape, norm_weight, norm_bias, EPSILON)
    odds = functional.silu(normed @ first + first_bias) @ second + second_bias
    return functional.binary_cross_entropy_with_logits(odds, right)


def _copied(parameters: list[torch.Tensor]) -> ProbeParameters:
    return ProbeParameters(*(p.detach().double().numpy().copy() for p in parameters))
