"""Made-up answers whose chance of being right is known."""

import numpy as np

from cascadia_sglang.calibration.record.pool import Pool, TierAnswers
from cascadia_sglang.judge.features import FEATURES

TRUNCATED = FEATURES.index("truncated")


def make_pool(count: int, seed: int = 0, skills: tuple[float, ...] = (0.0, 1.5, 3.0)) -> Pool:
    """Prompts of some difficulty; a tier's log-odds of being right are its skill less that.

    Two features tell of the log-odds, one well and one badly; the rest are noise. After 2 tokens
    the same with more noise is seen of four fifths of the answers.
    """
    rng = np.random.default_rng(seed)
    difficulty_N = rng.normal(scale=2.0, size=count)
    tiers = []
    for skill in skills:
        is_cut_N = rng.random(count) < 0.1
        log_odds_N = 1.5 * (skill - difficulty_N) - 2.0 * is_cut_N
        features_NF = rng.normal(size=(count, len(FEATURES)))
        features_NF[:, 0] = log_odds_N + 0.5 * rng.normal(size=count)
        features_NF[:, 1] = log_odds_N + 3.0 * rng.normal(size=count)
        features_NF[:, TRUNCATED] = is_cut_N
        prefix_NF = features_NF + rng.normal(size=features_NF.shape)
        prefix_NF[:, TRUNCATED] = 0.0
        prefix_NF[rng.random(count) < 0.2] = np.nan
        tiers.append(
            TierAnswers(
                features_NF=features_NF,
                prefix_NF={2: prefix_NF},
                right_N=rng.random(count) < 1 / (1 + np.exp(-log_odds_N)),
            )
        )
    return Pool(
        tiers=tuple(tiers),
        ids=tuple(f"q{index}" for index in range(count)),
        prompt_keys=tuple(f"q{index}" for index in range(count)),
        groups=tuple("ab"[index % 2] for index in range(count)),
        constrained_N=np.zeros(count, dtype=bool),
    )
