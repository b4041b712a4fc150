"""Answers of one tier and of the last one to the same prompts, and whether they agree.

Shape legend: N prompts, F base features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cascadia_sglang.arrays import BoolArray, FloatArray
from cascadia_sglang.calibration.record.pool import Pool, TierAnswers
from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.judge.same_answer import same_answer
from demo.calibrate.answers import complete_chunks, load_pool
from demo.train.tiers import TIERS

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPairs:
    """What a tier below the last answered to N different prompts.

    Attributes:
        name: of the models.
        features_NF: the judge's, of the whole answers; finite.
        right_N: whether each answer is right.
        same_N: whether it is the last tier's.
        last_right_N: whether that one is right.
    """

    name: str
    features_NF: FloatArray
    right_N: BoolArray
    same_N: BoolArray
    last_right_N: BoolArray

    def __len__(self) -> int:
        return len(self.right_N)

    def take(self, rows: Indices) -> AnswerPairs:
        """Some of the prompts."""
        return AnswerPairs(
            name=self.name,
            features_NF=self.features_NF[rows],
            right_N=self.right_N[rows],
            same_N=self.same_N[rows],
            last_right_N=self.last_right_N[rows],
        )

    def answers(self, right_N: BoolArray) -> TierAnswers:
        """As a calibration takes them, with these labels."""
        return TierAnswers(features_NF=self.features_NF, prefix_NF={}, right_N=right_N)

    def pool(self, *, by_agreement: bool) -> Pool:
        """As `cascadia calibrate` takes them, labelled by truth or by agreement."""
        right_N = self.same_N if by_agreement else self.right_N
        last_N = np.ones(len(self), dtype=bool) if by_agreement else self.last_right_N
        return Pool(
            tiers=(self.answers(right_N), self.answers(last_N)),
            ids=tuple(map(str, range(len(self)))),
            prompt_keys=tuple(map(str, range(len(self)))),
            groups=(None,) * len(self),
            constrained_N=np.zeros(len(self), dtype=bool),
        )


def demo_pairs(tier: str) -> AnswerPairs:
    """Of a tier of the demo and its last one, on every stored chunk of the test split."""
    pool = load_pool("test", complete_chunks("test"))
    answers, last = pool.tiers[list(TIERS).index(tier)], pool.tiers[-1]
    if answers.same_N is None:
        raise SystemExit("the stored answers have no texts: delete them, demo.calibrate.answers")
    finite = np.flatnonzero(np.isfinite(answers.features_NF).all(1))
    # Equal prompts would be in the traffic and in what measures it.
    _, first = np.unique(np.array(pool.prompt_keys)[finite], return_index=True)
    pairs = AnswerPairs(
        name=f"demo {tier}, {list(TIERS)[-1]}",
        features_NF=answers.features_NF,
        right_N=answers.right_N,
        same_N=answers.same_N,
        last_right_N=last.right_N,
    )
    return pairs.take(finite[first])


def real_pairs() -> AnswerPairs:
    """Of the two real models, as `bench.real` has recorded them."""
    from bench.real.observed import load_observed
    from bench.real.questions import questions

    observed = load_observed(questions())
    answers, last = observed["small"], observed["large"]
    pairs = AnswerPairs(
        name="real models",
        features_NF=answers.features_NF,
        right_N=answers.right_N,
        same_N=np.array(
            [same_answer(a, b) for a, b in zip(answers.texts, last.texts, strict=True)]
        ),
        last_right_N=last.right_N,
    )
    return pairs.take(np.flatnonzero(np.isfinite(answers.features_NF).all(1)))


def made_up_pairs(count: int) -> AnswerPairs:
    """Without any model: what the rank sees tells something, one more feature tells more."""
    rng = np.random.default_rng(0)
    log_odds_N = 1.5 + 2.0 * rng.normal(size=count)
    features_NF = rng.normal(size=(count, len(FEATURES)))
    for name, noise in (("weakest_logit", 2.0), ("mean_logprob", 2.0), ("min_margin", 1.5)):
        features_NF[:, FEATURES.index(name)] = log_odds_N + noise * rng.normal(size=count)
    same_N = rng.random(count) < 1 / (1 + np.exp(-log_odds_N))
    last_right_N = rng.random(count) < 0.9
    return AnswerPairs(
        name="made up",
        features_NF=features_NF,
        right_N=same_N & last_right_N,
        same_N=same_N,
        last_right_N=last_right_N,
    )
