"""The calibration file of a tier: the fitted score model and what it was fitted on."""

import json
import math
from pathlib import Path

import msgspec
import numpy as np

from cascadia_sglang.judge.features import FEATURES, logit
from cascadia_sglang.judge.state import FloatArray
from cascadia_sglang.struct_file import load_struct


class PrefixModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Linear model from the features after `tokens` tokens to the log-odds of the final score."""

    tokens: int
    weights: list[float]
    bias: float
    residual_sd: float


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A logistic model on standardised features: score = sigmoid(w · (x - mean) / scale + bias).

    The score is the probability that the answer is acceptable, in [0, 1].
    """

    version: int
    features: list[str]
    mean: list[float]
    scale: list[float]
    weights: list[float]
    bias: float
    prefix: list[PrefixModel]
    samples: int
    report: dict[str, float]

    def __post_init__(self) -> None:
        if self.version != 1:
            raise ValueError(f"version is {self.version}, allowed: 1")
        if tuple(self.features) != FEATURES:
            raise ValueError("features differ from this release's; fit the calibration again")
        lengths = {len(self.mean), len(self.scale), len(self.weights)}
        lengths |= {len(model.weights) for model in self.prefix}
        if lengths != {len(FEATURES)}:
            raise ValueError(f"mean, scale and weights need {len(FEATURES)} numbers each")
        if min(self.scale) <= 0:
            raise ValueError("scale must be positive")
        if any(model.residual_sd <= 0 for model in self.prefix):
            raise ValueError("residual_sd must be positive")


class ScoreModel:
    """A calibration ready for use in a worker."""

    def __init__(self, calibration: Calibration) -> None:
        mean, scale = np.array(calibration.mean), np.array(calibration.scale)

        def of_raw_features(weights: list[float], bias: float) -> tuple[FloatArray, float]:
            """Weights and bias with the standardisation folded in: one product an answer."""
            folded: FloatArray = np.array(weights) / scale
            return folded, bias - float(folded @ mean)

        self._final = of_raw_features(calibration.weights, calibration.bias)
        self._prefix = {
            model.tokens: (*of_raw_features(model.weights, model.bias), model.residual_sd)
            for model in calibration.prefix
        }

    def score(self, features_F: FloatArray) -> float:
        """Probability that the finished answer is acceptable; NaN where a feature is not finite."""
        weights, bias = self._final
        log_odds = float(weights @ features_F) + bias
        if not math.isfinite(log_odds):
            return math.nan
        return 1.0 / (1.0 + math.exp(-max(-700.0, min(700.0, log_odds))))

    def has_checkpoint(self, tokens: int) -> bool:
        """Whether a prefix of this many tokens can be judged."""
        return tokens in self._prefix

    def chance_of_acceptance(self, tokens: int, features_F: FloatArray, threshold: float) -> float:
        """P(final score >= threshold | the first `tokens` tokens), normal in the log-odds.

        NaN where a feature is not finite.
        """
        weights, bias, residual_sd = self._prefix[tokens]
        expected = float(weights @ features_F) + bias
        if not math.isfinite(expected):
            return math.nan
        deviations = (expected - float(logit(threshold))) / residual_sd
        return 0.5 * math.erfc(-deviations / math.sqrt(2.0))


def load_calibration(path: Path) -> Calibration:
    """Read a calibration file.

    Raises:
        ConfigError: if the file is missing or does not fit; names the file and the place.
    """
    return load_struct(path, Calibration, "calibration")


def save_calibration(calibration: Calibration, path: Path) -> None:
    """Write a calibration file, readable and stable under version control."""
    path.write_text(json.dumps(msgspec.to_builtins(calibration), indent=1) + "\n")
