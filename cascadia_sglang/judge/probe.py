"""The probe of a calibration: a small network on the hidden state that gave an answer's last token.

log-odds = second · silu(first · norm(hidden) + first_bias) + second_bias

Shape legend: B rows, H hidden size, U units of the inner layer.
"""

from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from cascadia_sglang.arrays import FloatArray

EPSILON = 1e-5
# Log-odds are cut here: beyond it a score in fp32 holds few digits of them.
LOG_ODDS_LIMIT = 14.0


class ProbeParameters(NamedTuple):
    """Of the network, in the order of `cascadia_kernels.hidden_probe.ProbeWeights`."""

    norm_weight_H: FloatArray
    norm_bias_H: FloatArray
    first_HU: FloatArray
    first_bias_U: FloatArray
    second_U: FloatArray
    second_bias_1: FloatArray


class Probe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network on the hidden state, and its weight in the log-odds of a tier's score."""

    hidden: int
    """Size of the model's hidden state."""
    units: int
    """Units of the inner layer."""
    parameters: bytes
    """The fields of `ProbeParameters` in their order, as little-endian float32; base64 in JSON."""
    weight: float
    """Factor of the probe's log-odds, cut to ±14, in the score's log-odds."""

    def __post_init__(self) -> None:
        if self.hidden < 1 or self.units < 1:
            raise ValueError("a probe's hidden and units must be 1 or more")
        needed = 4 * (2 * self.hidden + (self.hidden + 2) * self.units + 1)
        if len(self.parameters) != needed:
            raise ValueError(
                f"a probe of {self.hidden} hidden values and {self.units} units has {needed} bytes "
                f"of parameters, found {len(self.parameters)}"
            )

    def unpacked(self) -> ProbeParameters:
        """The parameters in their shapes."""
        hidden, units = self.hidden, self.units
        flat: FloatArray = np.frombuffer(self.parameters, "<f4").astype(np.float64)
        sizes = (hidden, hidden, hidden * units, units, units)
        parts = np.split(flat, np.cumsum(sizes))
        parts[2] = parts[2].reshape(hidden, units)
        return ProbeParameters(*parts)


def packed(parameters: ProbeParameters, weight: float) -> Probe:
    """A probe of these parameters, rounded to float32."""
    hidden, units = parameters.first_HU.shape
    flat = np.concatenate([part.ravel() for part in parameters]).astype("<f4")
    return Probe(hidden=hidden, units=units, parameters=flat.tobytes(), weight=weight)


def normalised(hidden_BH: npt.NDArray[np.floating]) -> FloatArray:
    """Each row less its mean, divided by its standard deviation, [B, H]."""
    centred_BH = hidden_BH - hidden_BH.mean(axis=1, keepdims=True, dtype=np.float64)
    scale_B1 = np.sqrt(np.square(centred_BH).mean(axis=1, keepdims=True) + EPSILON)
    normed_BH: FloatArray = centred_BH / scale_B1
    return normed_BH


def probe_log_odds(hidden_BH: npt.NDArray[np.floating], parameters: ProbeParameters) -> FloatArray:
    """What the network says of hidden states, cut to ±14, [B]; NaN where one is not finite."""
    scaled_BH = normalised(hidden_BH) * parameters.norm_weight_H + parameters.norm_bias_H
    inner_BU = scaled_BH @ parameters.first_HU + parameters.first_bias_U
    active_BU = inner_BU / (1.0 + np.exp(-np.clip(inner_BU, -700.0, 700.0)))
    log_odds_B = active_BU @ parameters.second_U + parameters.second_bias_1
    cut_B: FloatArray = np.clip(log_odds_B, -LOG_ODDS_LIMIT, LOG_ODDS_LIMIT)
    return cut_B
