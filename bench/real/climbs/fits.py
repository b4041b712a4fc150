"""Chances that an answer is right, from its features and from its prompt, in two stages.

First every tier's chance by the prompt's n-grams; then every chance by the answer's features and
the log-odds of the first stage. Those that fit the second stage come from models that their prompts
did not fit, for a model is surer of prompts that it has seen (stacking: Wolpert 1992, Neural
Networks 5).

Shape legend: n prompts that fit, M others, T tiers, C columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cascadia_sglang.arrays import BoolArray, FloatArray, RowArray
from cascadia_sglang.calibration.fit.logistic import fit_logistic
from cascadia_sglang.calibration.fit.replay import sigmoid
from cascadia_sglang.entry.fit import best_strength, design, fit_chance, has_one_kind
from cascadia_sglang.entry.prompt_chance import PromptChance, PromptScorer

_FOLDS = 5
_SEED = 0

PromptIds = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFit:
    """The first stage.

    Attributes:
        chances: of every tier.
        log_odds_nT: of the prompts that fit it, by models that they did not fit.
    """

    chances: tuple[PromptChance, ...]
    log_odds_nT: FloatArray


def fit_prompts(prompt_ids: PromptIds, right_nT: BoolArray, ngrams: int, bits: int) -> PromptFit:
    """Fit every tier's chance to the n-grams of prompts."""
    prompts = design(prompt_ids, ngrams, bits)
    strengths = [
        None if has_one_kind(right_n) else best_strength(prompts, right_n) for right_n in right_nT.T
    ]

    def fitted(rows_m: RowArray) -> tuple[PromptChance, ...]:
        part = design([prompt_ids[row] for row in rows_m], ngrams, bits)
        return tuple(
            fit_chance(part, right_n[rows_m], bits, strength)
            for right_n, strength in zip(right_nT.T, strengths, strict=True)
        )

    fold_n = np.random.default_rng(_SEED).integers(_FOLDS, size=len(prompt_ids))
    log_odds_nT = np.empty(right_nT.shape)
    for fold in np.unique(fold_n):
        is_out_n = fold_n == fold
        scorer = PromptScorer(fitted(np.flatnonzero(~is_out_n)), ngrams, bits)
        out_ids = [prompt_ids[row] for row in np.flatnonzero(is_out_n)]
        log_odds_nT[is_out_n] = prompt_log_odds(scorer, out_ids)
    return PromptFit(chances=fitted(np.arange(len(prompt_ids))), log_odds_nT=log_odds_nT)


def prompt_log_odds(scorer: PromptScorer, prompt_ids: PromptIds) -> FloatArray:
    """Of several prompts, [M, T]."""
    return np.array([scorer.log_odds(ids) for ids in prompt_ids])


def fitted_chances(
    known_nC: FloatArray, right_n: BoolArray, others: Sequence[FloatArray]
) -> list[FloatArray]:
    """Chances of several groups of answers, by a logistic model of the known ones."""
    mean_C, spread_C = known_nC.mean(0), known_nC.std(0)
    scale_C = np.where(spread_C > 1e-9, spread_C, 1.0)
    weights_C, bias = fit_logistic((known_nC - mean_C) / scale_C, right_n)
    return [sigmoid(((other_MC - mean_C) / scale_C) @ weights_C + bias) for other_MC in others]
