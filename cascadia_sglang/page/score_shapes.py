"""The judge's panel: how scores are distributed, and how often the last tier agrees with them."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from cascadia_sglang.router.feedback.calibration_drift import TierWatch
from cascadia_sglang.router.feedback.scores import TierScoring
from cascadia_sglang.router.feedback.shadow import Shadow

BINS = 20


def histogram(scores: Iterable[float]) -> list[int]:
    """How many scores are in each of `BINS` even bins of [0, 1]; 1 is in the last."""
    counts = [0] * BINS
    for score in scores:
        counts[min(BINS - 1, int(score * BINS))] += 1
    return counts


def reliability(labelled: Iterable[tuple[float, bool]]) -> list[dict[str, Any]]:
    """Of the labelled answers of each bin that has some: mean score, agreements and a 95 %
    interval of their share (Wilson, 1927)."""
    sums = [[0.0, 0, 0] for _ in range(BINS)]
    for score, agrees in labelled:
        bin_sums = sums[min(BINS - 1, int(score * BINS))]
        bin_sums[0] += score
        bin_sums[1] += 1
        bin_sums[2] += agrees
    return [
        {
            "score": round(total / answers, 4),
            "answers": int(answers),
            "agreed": int(agreed),
            "interval": [round(end, 4) for end in wilson(agreed / answers, answers)],
        }
        for total, answers, agreed in sums
        if answers
    ]


def wilson(share: float, trials: float, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95 % interval of a rate that was seen in so many trials, which may be a fraction."""
    centre = share + z * z / (2 * trials)
    spread = z * float(np.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)))
    whole = 1 + z * z / trials
    return max(0.0, (centre - spread) / whole), min(1.0, (centre + spread) / whole)


def score_shapes(
    names: Sequence[str],
    scores: Sequence[deque[float]],
    scoring: TierScoring,
    watch_of: Callable[[int], TierWatch | None],
    shadow: Shadow,
) -> list[dict[str, Any]]:
    """Of every tier but the last: its scores, its calibration's, and the labels that came in.

    Args:
        scores: the last ones of each tier, whichever calibration made them.
        watch_of: what watches a tier's answers for drift; None where it has no calibration. It
            has the scores of the active calibration alone.
    """
    edges = [step / BINS for step in range(BINS + 1)]
    shapes = []
    for tier, name in enumerate(names[:-1]):
        watch = watch_of(tier)
        labelled = shadow.labelled.get(tier, ())
        shapes.append(
            {
                "tier": name,
                "calibrated": scoring.source(tier).is_calibrated,
                "counts": histogram(scores[tier] if watch is None else watch.scores.scores),
                "expected": None if watch is None else watch.scores.expected_shares(edges),
                "reliability": reliability(labelled),
                "labels": len(labelled),
            }
        )
    return shapes
