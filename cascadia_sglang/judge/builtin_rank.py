"""The built-in rank: how sure a tier was of its answer, by fixed weights, without a calibration.

A rank orders a tier's answers, the surest highest, and is no probability of being right. Only
features that do not grow with an answer count: adding tokens of equal certainty leaves the rank
where it was.
"""

from cascadia_sglang.judge.calibration import Calibration, ScoreModel
from cascadia_sglang.judge.features import FEATURES

# Weights of the log-odds of the rank, on raw features; chosen among those of
# `bench/calibration/rank.py`. The least likely token says most, and on the demo nearly all. On a
# real model the mean adds: its answers may be weak without a single weak token.
WEIGHTS = {"weakest_logit": 0.5, "mean_logprob": 2.0}


def rank_model() -> ScoreModel:
    """The rank as a score model. It has no checkpoints, so it ends and commits nothing early."""
    count = len(FEATURES)
    weights = Calibration(
        version=3,
        features=list(FEATURES),
        mean=[0.0] * count,
        scale=[1.0] * count,
        weights=[WEIGHTS.get(name, 0.0) for name in FEATURES],
        bias=0.0,
        prefix=[],
        samples=0,
        constrained_samples=0,
        score_quantiles=[0.0, 1.0],
        report={},
        quantile_samples=0,
    )
    # It was fitted on no answers, so it needs none under a grammar either.
    return ScoreModel(weights, judges_constrained=True)
