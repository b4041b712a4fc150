"""How fast these tiers could be under rules that no server has, by replay of recorded answers.

Every question goes to the smaller tier, and some of its answers climb. The tiers take turns on the
machine, as each was measured alone. A draft costs nothing here, and spares the larger tier the
decoding of the tokens with which its answer begins as the smaller one's does. The share of its time
that is decoding is that of one request at a time: among several at a time it is less. So a
cascade with drafts can come near to these rates, and not above them but by doing two things at
once.

Shape legend: N questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.real.answers import StoredAnswer
from cascadia_sglang.arrays import BoolArray, IntArray

JUDGE = "a judge of correctness that is never wrong"
RULE = "a rule that knows where the larger tier helps"
WITH_DRAFTS = ", with drafts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Recorded answers.

    Attributes:
        small_N, large_N: whether each tier's answer is right.
        tokens_N: of the larger tier's answer.
        kept_N: with how many of them the smaller tier's answer begins too.
    """

    small_N: BoolArray
    large_N: BoolArray
    tokens_N: IntArray
    kept_N: IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """Of one rule; `climb` is the share of the questions that the larger tier sees."""

    requests_per_s: float
    accuracy: float
    climb: float


def begins_alike(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the longest beginning that both have."""
    same = 0
    for token, other in zip(first, second, strict=False):
        if token != other:
            break
        same += 1
    return same


def replay_of(answers: Sequence[tuple[StoredAnswer, StoredAnswer]], right_N2: BoolArray) -> Replay:
    """Of the smaller and the larger tier's answers, whose tokenizers are the same."""
    return Replay(
        small_N=right_N2[:, 0],
        large_N=right_N2[:, 1],
        tokens_N=np.array([len(large.output_ids) for _, large in answers]),
        kept_N=np.array(
            [begins_alike(small.output_ids, large.output_ids) for small, large in answers]
        ),
    )


def ceilings(
    replay: Replay, small_per_s: float, large_per_s: float, decoding: float
) -> dict[str, Ceiling]:
    """Every rule, without drafts and with them.

    Args:
        small_per_s, large_per_s: requests that each tier alone answers.
        decoding: share of the larger tier's time.
    """
    climbs = {JUDGE: ~replay.small_N, RULE: replay.large_N & ~replay.small_N}
    accuracy = float((replay.small_N | replay.large_N).mean())
    ceiling_by_name = {}
    for name, climbs_N in climbs.items():
        climb = float(climbs_N.mean())
        tokens = int(replay.tokens_N[climbs_N].sum())
        kept_share = int(replay.kept_N[climbs_N].sum()) / tokens if tokens else 0.0
        for suffix, spared in (("", 0.0), (WITH_DRAFTS, decoding * kept_share)):
            seconds = 1 / small_per_s + climb * (1 - spared) / large_per_s
            ceiling_by_name[name + suffix] = Ceiling(
                requests_per_s=1 / seconds, accuracy=accuracy, climb=climb
            )
    return ceiling_by_name
