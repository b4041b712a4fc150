"""Replays a cascade on recorded answers, as router and judge would serve them.

An answer is accepted when its score reaches the threshold and no checkpoint ended it early. One
that was cut off at its length limit is accepted also where its score without that would do: the
next tier was recorded under the same limit. The judge ends an answer after k tokens where its
chance of acceptance falls below `early_abort`:

    Phi((m - logit h) / sd) < early_abort   <=>   logit h > m + sd * Phi^-1(1 - early_abort)

with the prefix model's mean m and residual deviation sd, so every answer has one level of the
threshold's log-odds above which it is ended, the least over its checkpoints.

Shape legend: N prompts, T tiers, J earlier tiers, F base features, E columns of earlier tiers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from cascadia_sglang.acceptance import accepts
from cascadia_sglang.arrays import BoolArray, FloatArray, RowArray
from cascadia_sglang.calibration.record.pool import Pool, TierAnswers
from cascadia_sglang.judge.calibration import Calibration
from cascadia_sglang.judge.features import FEATURES, earlier_features, logit
from cascadia_sglang.judge.probe import probe_log_odds

_TRUNCATED = FEATURES.index("truncated")


@dataclass(frozen=True, slots=True, kw_only=True)
class TierScores:
    """One tier behind some thresholds.

    Attributes:
        score_N: of the finished answers; NaN where there is none.
        accepted_at_N: largest threshold that the answer reaches, cut off or not.
        level_N: log-odds of a threshold above which the attempt is ended early.
    """

    score_N: FloatArray
    accepted_at_N: FloatArray
    level_N: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedPool:
    """What thresholds make of a pool.

    Attributes:
        score_NT: of the tiers below the last, by what they knew at these thresholds; also where a
            prompt never got there.
        ended_NT: whether the judge ends the attempt early, of the same tiers.
        reached_NT: whether each prompt gets to each tier.
        answered_by_N: index of the tier whose answer goes out.
        right_N: whether that answer is acceptable.
        last_right_N: whether the last tier's would be.
    """

    score_NT: FloatArray
    ended_NT: BoolArray
    reached_NT: BoolArray
    answered_by_N: RowArray
    right_N: BoolArray
    last_right_N: BoolArray


class TierReplay:
    """Scores of one tier's recorded answers; what earlier tiers do not touch is computed once."""

    def __init__(
        self,
        calibration: Calibration,
        answers: TierAnswers,
        early_abort: float | None,
        probed_N: FloatArray | None = None,
    ) -> None:
        """Prepare the scores.

        Args:
            probed_N: the probe's log-odds of answers that fitted it, by fits without each; None
                for answers that did not, and where there is no probe.

        Raises:
            ValueError: if the calibration has a probe, and the answers have no hidden states.
        """
        scale_G = np.array(calibration.scale)
        mean_G = np.array(calibration.mean)

        def halves(
            weights: list[float], bias: float, rows_NF: FloatArray
        ) -> tuple[FloatArray, FloatArray]:
            """Log-odds by the base features, [N], and the raw weights of the other columns, [E]."""
            raw_G = np.array(weights) / scale_G
            base_N = rows_NF @ raw_G[: len(FEATURES)] + (bias - float(raw_G @ mean_G))
            return base_N, raw_G[len(FEATURES) :]

        base_N, raw_E = halves(calibration.weights, calibration.bias, answers.features_NF)
        self._final = base_N + _by_probe(calibration, answers, probed_N), raw_E
        # What having been cut off adds to an answer's log-odds.
        cut_N = answers.features_NF[:, _TRUNCATED]
        self.cut_log_odds_N = cut_N * calibration.weights[_TRUNCATED] / scale_G[_TRUNCATED]
        self._prefix = {
            model.tokens: (
                *halves(model.weights, model.bias, answers.prefix_NF[model.tokens]),
                model.residual_sd,
            )
            for model in calibration.prefix
            if model.tokens in answers.prefix_NF
        }
        self._deviations = NormalDist().inv_cdf(1.0 - early_abort) if early_abort else None

    @property
    def checkpoints(self) -> list[int]:
        return list(self._prefix)

    def log_odds(self, known_NJ: FloatArray) -> FloatArray:
        """Of the finished answers' scores, [N]; NaN where a feature is not finite.

        Args:
            known_NJ: scores of the earlier tiers, NaN where unknown.
        """
        base_N, raw_E = self._final
        log_odds_N: FloatArray = base_N + earlier_features(known_NJ) @ raw_E
        return log_odds_N

    def abort_level(self, known_NJ: FloatArray) -> FloatArray:
        """Log-odds of a threshold above which each attempt is ended early, [N]; inf for never."""
        level_N = np.full(len(known_NJ), np.inf)
        if self._deviations is None:
            return level_N
        earlier_NE = earlier_features(known_NJ)
        for base_N, raw_E, residual_sd in self._prefix.values():
            bound_N = base_N + earlier_NE @ raw_E + residual_sd * self._deviations
            np.fmin(level_N, bound_N, out=level_N)  # NaN, where it had ended, lowers nothing
        return level_N

    def chance(self, tokens: int, threshold: float, known_NJ: FloatArray) -> FloatArray:
        """P(final score >= threshold | the first `tokens` tokens), [N]; NaN where it had ended."""
        # A server imports this module for what a fit tells it, and asks for no chance.
        from scipy.special import ndtr

        base_N, raw_E, residual_sd = self._prefix[tokens]
        expected_N = base_N + earlier_features(known_NJ) @ raw_E
        chance_N: FloatArray = ndtr((expected_N - float(logit(threshold))) / residual_sd)
        return chance_N


def _by_probe(
    calibration: Calibration, answers: TierAnswers, probed_N: FloatArray | None
) -> FloatArray:
    """What the probe adds to the log-odds of whole answers, [N]."""
    probe = calibration.probe
    if probe is None:
        return np.zeros(len(answers.right_N))
    if probed_N is None:
        if answers.hidden_NH is None:
            raise ValueError("a probe's score cannot be replayed: answers keep no hidden states")
        probed_N = probe_log_odds(answers.hidden_NH, probe.unpacked())
    return probe.weight * probed_N


class CascadeReplay:
    """A whole cascade over one pool; what two rows of thresholds share is computed once."""

    def __init__(
        self,
        calibrations: Sequence[Calibration],
        pool: Pool,
        early_abort: float | None,
        noise_NT: FloatArray | None = None,
        probed: Sequence[FloatArray | None] = (),
    ) -> None:
        """Prepare the tiers below the last.

        Args:
            calibrations: of these tiers at least, smallest first.
            noise_NT: added to their log-odds, at the end and on the way, for studies.
            probed: `probed_N` of `TierReplay` by tier, where these answers fitted the probes.
        """
        below = range(len(pool.tiers) - 1)
        probed = probed or [None] * len(pool.tiers)
        self._tiers = [
            TierReplay(calibrations[i], pool.tiers[i], early_abort, probed[i]) for i in below
        ]
        # A tier whose calibration saw too few answers under a grammar gives those no score.
        self._unjudged_NT = np.column_stack(
            [pool.constrained_N & (not calibrations[i].judges_constrained) for i in below]
            or [np.empty((len(pool), 0), dtype=bool)]
        )
        self._noise_NT = np.zeros((len(pool), len(below))) if noise_NT is None else noise_NT
        self._count = len(pool)
        self._right_NT = pool.right()
        self.tier_scores = lru_cache(maxsize=256)(self._tier_scores)

    def serve(self, thresholds: Sequence[float]) -> ServedPool:
        """What these thresholds, one a tier but the last, make of the pool."""
        count, last = self._count, len(self._tiers)
        waiting_N = np.ones(count, dtype=bool)
        answered_by_N = np.full(count, last)
        score_NT, ended_NT = np.empty((count, last)), np.zeros((count, last), dtype=bool)
        reached_NT = np.ones((count, last + 1), dtype=bool)
        for tier, threshold in enumerate(thresholds):
            reached_NT[:, tier] = waiting_N
            seen = self.tier_scores(tier, tuple(thresholds[:tier]))
            score_NT[:, tier] = seen.score_N
            ended_NT[:, tier] = ends(seen.level_N, threshold)
            accepted_N = waiting_N & ~ended_NT[:, tier] & accepts(seen.accepted_at_N, threshold)
            answered_by_N[accepted_N] = tier
            waiting_N = waiting_N & ~accepted_N
        reached_NT[:, last] = waiting_N
        return ServedPool(
            score_NT=score_NT,
            ended_NT=ended_NT,
            reached_NT=reached_NT,
            answered_by_N=answered_by_N,
            right_N=self._right_NT[np.arange(count), answered_by_N],
            last_right_N=self._right_NT[:, last],
        )

    def known_scores(self, thresholds: Sequence[float]) -> FloatArray:
        """What tiers behind these thresholds know: scores, NaN where ended early, [N, J]."""
        known_NJ = np.empty((self._count, len(thresholds)))
        for tier, threshold in enumerate(thresholds):
            seen = self.tier_scores(tier, tuple(thresholds[:tier]))
            known_NJ[:, tier] = np.where(ends(seen.level_N, threshold), np.nan, seen.score_N)
        return known_NJ

    def _tier_scores(self, tier: int, thresholds: tuple[float, ...]) -> TierScores:
        """A tier behind these thresholds."""
        known_NJ = self.known_scores(thresholds)
        replay, noise_N = self._tiers[tier], self._noise_NT[:, tier]
        log_odds_N = replay.log_odds(known_NJ) + noise_N
        log_odds_N[self._unjudged_NT[:, tier]] = np.nan
        uncut_N = np.maximum(log_odds_N, log_odds_N - replay.cut_log_odds_N)
        return TierScores(
            score_N=sigmoid(log_odds_N),
            accepted_at_N=sigmoid(uncut_N),
            level_N=replay.abort_level(known_NJ) + noise_N,
        )


def ends(level_N: FloatArray, threshold_N: FloatArray | float) -> BoolArray:
    """Which attempts the judge ends early; nothing is hopeless at threshold 0."""
    ended_N: BoolArray = (np.asarray(threshold_N) > 0.0) & (logit(threshold_N) > level_N)
    return ended_N


def sigmoid(log_odds_N: FloatArray) -> FloatArray:
    """Probability of log-odds, without overflow."""
    probability: FloatArray = 1.0 / (1.0 + np.exp(-np.clip(log_odds_N, -700.0, 700.0)))
    return probability
