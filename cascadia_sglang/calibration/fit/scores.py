"""Fits the score and prefix models of every tier of a cascade.

Serving ends hopeless attempts early, and then no final score of that tier is known to the tiers
above. The fit sees as many such answers: every prompt draws a threshold at which the tiers before
are served.

A prefix model answers P(final score >= h | k tokens) = Phi((w x + b - logit h) / sd). It is fitted
as it is used, by a logistic regression of whether the final score reaches drawn thresholds h on the
features and logit h; sigmoid(1.702 z) stands for Phi(z), which differs by less than 0.01 (Camilli
1994, Journal of Educational and Behavioral Statistics 19).

Shape legend: N prompts, F base features, J earlier tiers, G = F + 2 J columns, D draws.
"""

from dataclasses import dataclass, replace

import msgspec
import numpy as np

from cascadia_sglang.arrays import BoolArray, FloatArray, RowArray
from cascadia_sglang.calibration.fit.logistic import L2, fit_logistic
from cascadia_sglang.calibration.fit.probe import ProbeTrial, try_probe
from cascadia_sglang.calibration.fit.replay import TierReplay, ends, sigmoid
from cascadia_sglang.calibration.record.pool import Pool, TierAnswers
from cascadia_sglang.errors import CalibrationError
from cascadia_sglang.judge.calibration import Calibration, PrefixModel
from cascadia_sglang.judge.features import FEATURES, earlier_features, earlier_names, logit

MIN_PREFIX_ROWS = 100
DRAWN_THRESHOLDS = (0.3, 0.98)  # ends of the uniform distribution of a usual threshold
NEAR_L2 = 10.0  # where the penalty draws to a score that is good already
_DRAWS = 4  # thresholds an answer in the fit of a prefix model
_PROBIT = 1.702
_SD_LIMITS = (0.05, 20.0)
_SEED = 0


@dataclass(frozen=True, slots=True)
class FittedTier:
    """A tier's calibration, and what the probe of its hidden states was worth.

    Attributes:
        trial: None where no hidden states were recorded.
    """

    calibration: Calibration
    trial: ProbeTrial | None = None

    def replay(self, fitted: TierAnswers, early_abort: float | None) -> TierReplay:
        """Its scores of the answers that fitted it; a probe has learnt them, and is not asked."""
        probed_N = None if self.trial is None else self.trial.probed_N
        return TierReplay(self.calibration, fitted, early_abort, probed_N)


def fit_cascade(pool: Pool, early_abort: float | None) -> list[Calibration]:
    """A calibration of every tier, smallest first; reports and quantiles are left open."""
    return [tier.calibration for tier in fit_tiers(pool, early_abort)]


def fit_tiers(pool: Pool, early_abort: float | None) -> list[FittedTier]:
    """Fit every tier, smallest first, each with a probe where its hidden states are known.

    The last tier's score decides nothing. It is left out where its answers are all of one kind, as
    they are when answers are labelled by agreement with it.

    Raises:
        CalibrationError: if a tier's answers are of one kind.
    """
    rng = np.random.default_rng(_SEED)
    threshold_N = rng.uniform(*DRAWN_THRESHOLDS, len(pool))
    known_NJ = np.empty((len(pool), 0))
    _, prompt_N = np.unique(pool.prompt_keys, return_inverse=True)
    fitted: list[FittedTier] = []
    for index, answers in enumerate(pool.tiers):
        is_last = index == len(pool.tiers) - 1
        seen_N = np.isfinite(answers.features_NF).all(1)
        right_n = answers.right_N[seen_N]
        if right_n.all() or not right_n.any():
            if is_last:
                break
            raise CalibrationError(
                f"tiers[{index}]: of {len(right_n)} judged answers in the fitting part "
                f"{int(right_n.sum())} are acceptable, a score needs some of both kinds"
            )
        rows = np.flatnonzero(seen_N)
        constrained = int(pool.constrained_N[rows].sum())
        calibration = fit_tier(answers.take(rows), known_NJ[rows], constrained)
        tier = _with_probe(calibration, answers, known_NJ, rows, prompt_N)
        fitted.append(tier)
        replay = tier.replay(answers, early_abort)
        score_N = sigmoid(replay.log_odds(known_NJ))
        ended_N = ends(replay.abort_level(known_NJ), threshold_N)
        known_NJ = np.column_stack((known_NJ, np.where(ended_N, np.nan, score_N)))
    return fitted


def _with_probe(
    calibration: Calibration,
    answers: TierAnswers,
    known_NJ: FloatArray,
    rows: RowArray,
    prompt_N: RowArray,
) -> FittedTier:
    """The tier with a probe where that gains; its prefix models then foretell the new score.

    Args:
        rows: of the answers that fitted the calibration.
        prompt_N: equal for equal prompts.
    """
    if answers.hidden_NH is None:
        return FittedTier(calibration)
    fitted, known_nJ = answers.take(rows), known_NJ[rows]
    columns_nG = np.column_stack((fitted.features_NF, earlier_features(known_nJ)))
    calibration, trial = try_probe(
        calibration, columns_nG, answers.hidden_NH[rows], fitted.right_N, prompt_N[rows]
    )
    if trial.is_used:
        replay = TierReplay(calibration, fitted, None, trial.probed_N)
        prefix = fit_prefixes(
            fitted,
            known_nJ,
            np.array(calibration.mean),
            np.array(calibration.scale),
            replay.log_odds(known_nJ),
            np.ones(len(rows)),
        )
        calibration = msgspec.structs.replace(calibration, prefix=prefix)
    probed_N = np.full(len(answers.right_N), np.nan)
    probed_N[rows] = trial.probed_N
    return FittedTier(calibration, replace(trial, probed_N=probed_N))


def fit_tier(
    answers: TierAnswers,
    known_NJ: FloatArray,
    constrained: int = 0,
    weight_N: FloatArray | None = None,
    near_F: FloatArray | None = None,
) -> Calibration:
    """Fit one tier's score and prefix models.

    Args:
        answers: with finite features, some right and some wrong.
        known_NJ: scores of the tiers before, NaN where unknown.
        constrained: how many of the answers were written under a grammar.
        weight_N: how much each answer counts; 1 where not given.
        near_F: weights of the base features of a score that orders answers well already. Where
            given, the penalty draws to that score, calibrated, and draws harder: `NEAR_L2`.
    """
    weight_N = np.ones(len(known_NJ)) if weight_N is None else weight_N
    earlier_NE = earlier_features(known_NJ)
    columns_NG = np.column_stack((answers.features_NF, earlier_NE))
    mean_G = np.average(columns_NG, axis=0, weights=weight_N)
    spread_G = np.sqrt(np.average((columns_NG - mean_G) ** 2, axis=0, weights=weight_N))
    scale_G = np.where(spread_G > 1e-9, spread_G, 1.0)
    x_NG = (columns_NG - mean_G) / scale_G
    centre_G = None
    if near_F is not None:
        near_G = np.append(near_F, np.zeros(earlier_NE.shape[1])) * scale_G
        slope, _ = fit_logistic((x_NG @ near_G)[:, None], answers.right_N, L2, weight_N)
        centre_G = max(float(slope[0]), 0.0) * near_G
    l2 = L2 if near_F is None else NEAR_L2
    weights_G, bias = fit_logistic(x_NG, answers.right_N, l2, weight_N, centre_G)
    log_odds_N = x_NG @ weights_G + bias
    prefix = fit_prefixes(answers, known_NJ, mean_G, scale_G, log_odds_N, weight_N)
    return Calibration(
        version=3,
        features=[*FEATURES, *earlier_names(known_NJ.shape[1])],
        mean=mean_G.tolist(),
        scale=scale_G.tolist(),
        weights=weights_G.tolist(),
        bias=bias,
        prefix=prefix,
        samples=len(x_NG),
        constrained_samples=constrained,
        score_quantiles=[0.0, 1.0],
        report={},
        quantile_samples=0,
    )


def fit_prefixes(
    answers: TierAnswers,
    known_NJ: FloatArray,
    mean_G: FloatArray,
    scale_G: FloatArray,
    log_odds_N: FloatArray,
    weight_N: FloatArray,
) -> list[PrefixModel]:
    """A model for every number of tokens after which enough answers still run.

    Args:
        known_NJ: scores of the tiers before, NaN where unknown.
        mean_G, scale_G: by which the columns are standardised.
        log_odds_N: of the final scores; an answer where it is not finite does not count.
        weight_N: how much each answer counts.
    """
    earlier_NE = earlier_features(known_NJ)
    prefix = []
    for tokens, rows_NF in sorted(answers.prefix_NF.items()):
        running_N = np.isfinite(rows_NF).all(1) & np.isfinite(log_odds_N)
        if running_N.sum() < MIN_PREFIX_ROWS:
            continue
        columns_nG = np.column_stack((rows_NF[running_N], earlier_NE[running_N]))
        model = fit_prefix(
            (columns_nG - mean_G) / scale_G, log_odds_N[running_N], tokens, weight_N[running_N]
        )
        if model is not None:
            prefix.append(model)
    return prefix


def fit_prefix(
    x_NG: FloatArray, log_odds_N: FloatArray, tokens: int, weight_N: FloatArray | None = None
) -> PrefixModel | None:
    """The model after `tokens` tokens; None where no drawn threshold divides the answers.

    Args:
        x_NG: standardised columns after that many tokens.
        log_odds_N: of the final scores.
        weight_N: how much each answer counts; 1 where not given.
    """
    rng = np.random.default_rng(_SEED + tokens)
    level_ND = _drawn_levels(rng, log_odds_N)
    reaches_ND = log_odds_N[:, None] >= level_ND
    if reaches_ND.all() or not reaches_ND.any():
        return None
    columns = np.column_stack((np.repeat(x_NG, _DRAWS, axis=0), -level_ND.ravel()))
    repeated = None if weight_N is None else np.repeat(weight_N, _DRAWS)
    weights, bias = fit_logistic(columns, reaches_ND.ravel(), L2 * _DRAWS, repeated)
    slope = float(np.clip(weights[-1] / _PROBIT, 1 / _SD_LIMITS[1], 1 / _SD_LIMITS[0]))
    return PrefixModel(
        tokens=tokens,
        weights=(weights[:-1] / _PROBIT / slope).tolist(),
        bias=bias / _PROBIT / slope,
        residual_sd=1 / slope,
    )


def _drawn_levels(rng: np.random.Generator, log_odds_N: FloatArray) -> FloatArray:
    """Log-odds of the thresholds that a prefix model is fitted for, [N, D].

    Half are of thresholds that good models are served at. The other half are scores of these
    answers: where few of them are right, every threshold that divides them is lower than those, and
    a model that never saw such a threshold ends most attempts wrongly.
    """
    count = len(log_odds_N)
    usual_ND = logit(rng.uniform(*DRAWN_THRESHOLDS, (count, _DRAWS // 2)))
    own_ND = rng.choice(log_odds_N, (count, _DRAWS - _DRAWS // 2))
    levels_ND: FloatArray = np.column_stack((usual_ND, own_ND))
    return levels_ND


def fit_alone(x_N: FloatArray, right_N: BoolArray) -> tuple[float, float]:
    """Weight and bias of one raw feature: what it is worth without the others."""
    mean, spread = float(x_N.mean()), float(x_N.std()) or 1.0
    weights, bias = fit_logistic(((x_N - mean) / spread)[:, None], right_N)
    slope = float(weights[0]) / spread
    return slope, bias - slope * mean
