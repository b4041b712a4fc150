"""The calibration file of a tier: the fitted score model and its training data's summary."""

import bisect
import functools
import json
import math
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numba
import numpy as np

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.config.speculation import Speculation
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.files.struct_file import load_struct
from cascadia_sglang.judge.features import FEATURES, earlier_features, earlier_names, logit
from cascadia_sglang.judge.probe import Probe
from cascadia_sglang.judge.watch.agreement import Agreement
from cascadia_sglang.judge.watch.features import FeatureSummary

# Under a grammar an answer is judged where at least this many such answers were fitted.
MIN_CONSTRAINED_SAMPLES = 100
# To which the score quantiles are rounded: many scores are next to 1, and all of them count as 1.
SCORE_DIGITS = 6

_TRUNCATED = FEATURES.index("truncated")


class PrefixModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Linear model from the features after `tokens` tokens to the log-odds of the final score."""

    tokens: int
    """Number of tokens of the checkpoint."""
    weights: list[float]
    """Weight of each column."""
    bias: float
    """Constant term of the log-odds."""
    residual_sd: float
    """Standard deviation of the final log-odds around the model."""


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A logistic model on standardised features: score = sigmoid(w · (x - mean) / scale + bias).

    The score is the probability that the answer is acceptable, in [0, 1].
    """

    version: int
    """Version of the file's form: 2 or 3. A file of version 2 has no probe and detects no drift."""
    features: list[str]
    """Names of the columns: features of this tier's answer, then two per earlier tier.

    Those are the log-odds of the earlier tier's score, and whether the score is unknown.
    """
    mean: list[float]
    """Mean of each column."""
    scale: list[float]
    """Standard deviation of each column."""
    weights: list[float]
    """Weight of each standardised column."""
    bias: float
    """Constant term of the log-odds."""
    prefix: list[PrefixModel]
    """Models of the log-odds of the final score, one per checkpoint, on the same columns."""
    samples: int
    """Answers of the fit."""
    constrained_samples: int
    """Answers of the fit under a grammar."""
    score_quantiles: list[float]
    """Quantiles of the scores of finished answers that reach this tier, ascending.

    Their probabilities are evenly spaced from 0 to 1.
    """
    report: dict[str, float]
    """Quality of the score on answers that the fit left out, by the measure's name."""
    quantile_samples: int | None = None
    """Answers behind the quantiles. Required in version 3."""
    probe: Probe | None = None
    """Network on the hidden state that adds to the score. null: none."""
    agreement: Agreement | None = None
    """Agreement of the tier's accepted answers with the last tier's. null: not measured."""
    model: str | None = None
    """Fingerprint of the weights whose answers were fitted. null: not known."""
    feature_summary: FeatureSummary | None = None
    """Features of the answers that reached the tier. null: too few answers."""
    draft_vocabularies: list[str] | None = None
    """Of a second judge: fingerprints of the vocabularies of the drafts' writer and their reader.

    null: not known.
    """
    speculation: Speculation | None = None
    """Speculative decoding of these answers. null: none."""

    def __post_init__(self) -> None:
        if self.version not in (2, 3):
            raise ValueError(f"version is {self.version}, allowed: 2, 3; fit the calibration again")
        added = (
            *("quantile_samples", "probe", "agreement", "model", "feature_summary"),
            *("draft_vocabularies", "speculation"),
        )
        if self.version == 2 and any(getattr(self, name) is not None for name in added):
            raise ValueError(f"{', '.join(added)} need version 3")
        if self.version == 3 and (self.quantile_samples is None or self.quantile_samples < 0):
            raise ValueError("quantile_samples must be 0 or more in version 3")
        if self.features != [*FEATURES, *earlier_names(self.earlier_tiers)]:
            raise ValueError("features differ from this release's; fit the calibration again")
        lengths = {len(self.mean), len(self.scale), len(self.weights)}
        lengths |= {len(model.weights) for model in self.prefix}
        if lengths != {len(self.features)}:
            raise ValueError(f"mean, scale and weights need {len(self.features)} numbers each")
        if min(self.scale) <= 0:
            raise ValueError("scale must be positive")
        if any(model.residual_sd <= 0 for model in self.prefix):
            raise ValueError("residual_sd must be positive")
        if not 0 <= self.constrained_samples <= self.samples:
            raise ValueError("constrained_samples must be from 0 to samples")
        ends = [0.0, *self.score_quantiles, 1.0]
        if len(self.score_quantiles) < 2 or ends != sorted(ends):
            raise ValueError("score_quantiles needs two or more numbers from 0 to 1, ascending")

    @property
    def earlier_tiers(self) -> int:
        """How many tiers came before the one that was fitted."""
        return max(0, len(self.features) - len(FEATURES)) // 2

    @property
    def judges_constrained(self) -> bool:
        """Whether enough answers under a grammar were fitted to judge one."""
        return self.constrained_samples >= MIN_CONSTRAINED_SAMPLES


@functools.lru_cache(maxsize=256)
def _threshold_logit(threshold: float) -> float:
    """A server has few thresholds, and asks for them at every checkpoint."""
    return float(logit(threshold))


@functools.lru_cache(maxsize=1024)
def _earlier_columns(earlier_scores: tuple[float | None, ...]) -> FloatArray:
    """One answer's columns, [E]; it asks for them at each of its checkpoints."""
    columns_1E = earlier_features(np.array([earlier_scores], dtype=np.float64))  # None becomes NaN
    columns_E: FloatArray = columns_1E[0]
    return columns_E


@numba.njit("float64(float64)", cache=True)
def _sigmoid(log_odds: float) -> float:
    """NaN where the log-odds are not finite."""
    if not math.isfinite(log_odds):
        return math.nan
    return 1.0 / (1.0 + math.exp(-max(-700.0, min(700.0, log_odds))))


@numba.njit(
    "float64[:,:](float64[:,::1], float64[::1], float64[::1], float64)", cache=True, nogil=True
)
def _scores(
    features_NF: FloatArray, weights_F: FloatArray, added_N: FloatArray, truncated_weight: float
) -> FloatArray:
    """Scores, and what they would be had the answers ended there by themselves, [N, 2]."""
    scores_N2 = np.empty((len(features_NF), 2))
    for row in range(len(features_NF)):
        log_odds = added_N[row]
        for column in range(len(weights_F)):
            log_odds += weights_F[column] * features_NF[row, column]
        scores_N2[row, 0] = _sigmoid(log_odds)
        cut = truncated_weight * features_NF[row, _TRUNCATED]
        scores_N2[row, 1] = _sigmoid(log_odds - cut)
    return scores_N2


class _Linear:
    """One product for the base features, one for what the earlier tiers said."""

    def __init__(self, weights: FloatArray, bias: float) -> None:
        self.base_F, self._earlier_E = weights[: len(FEATURES)], weights[len(FEATURES) :]
        self._bias = bias

    def log_odds(self, features_F: FloatArray, earlier_scores: Sequence[float | None]) -> float:
        return float(self.base_F @ features_F) + self.added(earlier_scores)

    def added(self, earlier_scores: Sequence[float | None]) -> float:
        """To the product with the base features."""
        if not len(self._earlier_E):
            return self._bias
        return self._bias + float(self._earlier_E @ _earlier_columns(tuple(earlier_scores)))


class ScoreModel:
    """A calibration ready for use in a worker."""

    def __init__(self, calibration: Calibration, *, judges_constrained: bool = False) -> None:
        """`judges_constrained` judges answers under a grammar, however few were fitted."""
        self.judges_constrained = judges_constrained or calibration.judges_constrained
        self.probe = calibration.probe
        self.reports_features = calibration.feature_summary is not None
        mean, scale = np.array(calibration.mean), np.array(calibration.scale)

        def of_raw_features(weights: list[float], bias: float) -> _Linear:
            """Weights and bias with the standardisation folded in: one product an answer."""
            folded: FloatArray = np.array(weights) / scale
            return _Linear(folded, bias - float(folded @ mean))

        self._final = of_raw_features(calibration.weights, calibration.bias)
        self._prefix = {
            model.tokens: (of_raw_features(model.weights, model.bias), model.residual_sd)
            for model in calibration.prefix
        }
        self._checkpoints = sorted(self._prefix)
        self._truncated_weight = calibration.weights[_TRUNCATED] / calibration.scale[_TRUNCATED]

    def score(
        self,
        features_F: FloatArray,
        earlier_scores: Sequence[float | None] = (),
        probe_log_odds: float = math.nan,
    ) -> float:
        """Probability that the finished answer is acceptable; NaN where a feature is not finite.

        Args:
            features_F: base features of the answer.
            earlier_scores: final scores of the tiers before, None where unknown, as many as the
                calibration has.
            probe_log_odds: of the probe on the answer's last hidden state, where there is a probe.
        """
        added_1 = np.array([self.added(earlier_scores, probe_log_odds)])
        return float(self.scores(features_F[np.newaxis], added_1)[0, 0])

    def added(self, earlier_scores: Sequence[float | None], probe_log_odds: float) -> float:
        """What the log-odds of a finished answer hold besides those of its base features."""
        added = self._final.added(earlier_scores)
        return added if self.probe is None else added + self.probe.weight * probe_log_odds

    def scores(self, features_NF: FloatArray, added_N: FloatArray) -> FloatArray:
        """Of finished answers: `score`, and what it would be had the answer ended there by itself.

        Args:
            features_NF: base features, one row an answer.
            added_N: by `added`.

        Returns:
            [N, 2], float64; NaN where a feature is not finite.
        """
        final = self._final.base_F
        scores_N2: FloatArray = _scores(features_NF, final, added_N, self._truncated_weight)
        return scores_N2

    def has_checkpoint(self, tokens: int) -> bool:
        """Whether a prefix of this many tokens can be judged."""
        return tokens in self._prefix

    def next_checkpoint(self, tokens: int) -> int:
        """The first number of tokens above this one at which a prefix can be judged; 0 for none."""
        index = bisect.bisect_right(self._checkpoints, tokens)
        return self._checkpoints[index] if index < len(self._checkpoints) else 0

    def chance_of_acceptance(
        self,
        tokens: int,
        features_F: FloatArray,
        threshold: float,
        earlier_scores: Sequence[float | None] = (),
    ) -> float:
        """P(final score >= threshold | the first `tokens` tokens), normal in the log-odds.

        NaN where a feature is not finite.
        """
        model, residual_sd = self._prefix[tokens]
        expected = model.log_odds(features_F, earlier_scores)
        if not math.isfinite(expected):
            return math.nan
        deviations = (expected - _threshold_logit(threshold)) / residual_sd
        return 0.5 * math.erfc(-deviations / math.sqrt(2.0))


def load_calibration(path: Path) -> Calibration:
    """Read a calibration file.

    Raises:
        ConfigError: if the file is missing or does not fit; names the file and the place.
    """
    return load_struct(path, Calibration, "calibration")


def load_calibrations(paths: dict[int, str]) -> dict[int, Calibration]:
    """Read the calibration file of each tier index, and see that it is of a tier at that place.

    Raises:
        ConfigError: one line that names the file and what is wrong with it.
    """
    loaded = {tier_index: load_calibration(Path(path)) for tier_index, path in paths.items()}
    for tier_index, calibration in loaded.items():
        if calibration.earlier_tiers != tier_index:
            raise ConfigError(
                f"calibration {paths[tier_index]} was fitted behind {calibration.earlier_tiers} "
                f"tiers, but this tier is behind {tier_index}; fit the calibration again"
            )
    return loaded


def save_calibration(calibration: Calibration, path: Path) -> None:
    """Write a calibration file, readable and stable under version control."""
    path.write_text(json.dumps(msgspec.to_builtins(calibration), indent=1) + "\n")
