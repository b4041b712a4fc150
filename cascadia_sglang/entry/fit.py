"""Fits an entry model to prompts and to which tiers answered them acceptably.

Needs scikit-learn (the extra `calibrate`), which is imported where it is used: `cascadia calibrate`
must be able to say that it is missing. Nothing here is used while serving.

Shape legend: N prompts, H judged tiers (every tier but the last), B buckets, S buckets
that occur.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from scipy import sparse

from cascadia_sglang.arrays import BoolArray, FloatArray, IntArray
from cascadia_sglang.entry.features import prompt_features
from cascadia_sglang.entry.model import EntryModel, TierChance
from cascadia_sglang.entry.prompt_chance import PromptChance

# Inverse L2 strengths to choose from, by the log loss of prompts left out.
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
FOLDS = 5
MAX_STEPS = 1000
# A few of its steps reach what takes scikit-learn's default dozens.
SOLVER, TOLERANCE = "newton-cg", 1e-6
# With fewer prompts of one kind, there is nothing to tell them apart by.
MIN_OF_A_KIND = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """Features of N prompts, as the regressions see them.

    Attributes:
        x_NS: values of the buckets that occur, and in the last column the standardised length.
        buckets_S: which buckets those are; a bucket that never occurs has weight 0.
        length_mean, length_scale: of ln(1 + tokens).
    """

    x_NS: sparse.csr_matrix
    buckets_S: IntArray
    length_mean: float
    length_scale: float


def design(prompt_ids: Sequence[Sequence[int]], ngrams: int, bits: int) -> Design:
    """Features of at least one prompt."""
    columns: list[IntArray] = []
    values: list[FloatArray] = []
    lengths, ends = [], [0]
    for ids in prompt_ids:
        buckets_F, values_F, log_tokens = prompt_features(ids, ngrams, bits)
        columns.append(buckets_F)
        values.append(values_F)
        lengths.append(log_tokens)
        ends.append(ends[-1] + len(buckets_F))
    buckets_S, places = np.unique(np.concatenate(columns), return_inverse=True)
    counted_NS = sparse.csr_matrix(
        (np.concatenate(values), places, ends), shape=(len(prompt_ids), len(buckets_S))
    )
    mean, spread = float(np.mean(lengths)), float(np.std(lengths))
    scale = spread if spread > 1e-9 else 1.0
    length_N1 = sparse.csr_matrix((np.array(lengths) - mean)[:, None] / scale)
    return Design(
        x_NS=sparse.hstack([counted_NS, length_N1]).tocsr(),
        buckets_S=buckets_S,
        length_mean=mean,
        length_scale=scale,
    )


def fit_chance(
    prompts: Design, right_N: BoolArray, bits: int, strength: float | None = None
) -> PromptChance:
    """An L2-regularised logistic regression, its standardisation folded in.

    Where nearly all labels are equal, the weights are 0 and the bias is the smoothed log-odds of
    their share.

    Args:
        strength: inverse L2 strength; None for `best_strength`.
    """
    weights_B = np.zeros(1 << bits, dtype="<f4")
    right, wrong = int(right_N.sum()), int((~right_N).sum())
    if has_one_kind(right_N):
        length_weight, bias = 0.0, float(np.log((right + 0.5) / (wrong + 0.5)))
    else:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(
            C=best_strength(prompts, right_N) if strength is None else strength,
            solver=SOLVER,
            tol=TOLERANCE,
            max_iter=MAX_STEPS,
        )
        weights_S = model.fit(prompts.x_NS, right_N).coef_[0]
        weights_B[prompts.buckets_S] = weights_S[:-1]
        length_weight = float(weights_S[-1]) / prompts.length_scale
        bias = float(model.intercept_[0]) - length_weight * prompts.length_mean
    return PromptChance(weights=weights_B.tobytes(), length_weight=length_weight, bias=bias)


def has_one_kind(right_N: BoolArray) -> bool:
    """Whether nearly all labels are equal."""
    return min(int(right_N.sum()), int((~right_N).sum())) < MIN_OF_A_KIND


def best_strength(prompts: Design, right_N: BoolArray) -> float:
    """That of `STRENGTHS` with the least cross-validated log loss; the labels are of two kinds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedKFold

    losses = np.zeros(len(STRENGTHS))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    for fit_rows, other_rows in folds.split(np.zeros(len(right_N)), right_N):
        # Each strength's fit starts from the weaker one's weights.
        model = LogisticRegression(
            solver=SOLVER, tol=TOLERANCE, max_iter=MAX_STEPS, warm_start=True
        )
        for index, strength in enumerate(STRENGTHS):
            model.set_params(C=strength).fit(prompts.x_NS[fit_rows], right_N[fit_rows])
            chance_N2 = model.predict_proba(prompts.x_NS[other_rows])
            losses[index] += log_loss(right_N[other_rows], chance_N2)
    return STRENGTHS[int(losses.argmin())]


def skip_margins(right_HN: BoolArray, costs: Sequence[float]) -> list[float]:
    """Chance below which trying a tier costs more than it saves, for every tier but the last.

    Trying tier i costs c_i, and with chance p it saves R_i, the mean cost of the climb from tier
    i + 1 on; it pays where p >= c_i / R_i. R_i is that of the prompts that come there, the ones
    that tier i answers wrong: R_i = c_{i+1} + P(i + 1 wrong | i wrong) R_{i+1}.

    Args:
        right_HN: whether each tier's answer is acceptable, smallest tier first.
        costs: mean cost of an attempt on each tier, the last one's too, in any one unit, above 0.
    """
    margins: list[float] = []
    later_cost = costs[-1]
    for tier in reversed(range(len(right_HN))):
        margins.insert(0, min(1.0, costs[tier] / later_cost))
        if tier > 0:
            wrong_N = ~right_HN[tier][~right_HN[tier - 1]]
            later_cost = costs[tier] + (float(wrong_N.mean()) if len(wrong_N) else 1.0) * later_cost
    return margins


def fit_entry_model(
    prompt_ids: Sequence[Sequence[int]],
    right_HN: BoolArray,
    costs: Sequence[float],
    *,
    tiers: Sequence[str],
    vocabulary: str,
    ngrams: int,
    bits: int,
) -> EntryModel:
    """Fit the chances of every tier but the last; the report is left empty.

    Args:
        prompt_ids: token ids of N prompts as the router has them, at least one prompt.
        right_HN: whether the answer of each tier but the last is acceptable, smallest tier first.
        costs: mean cost of an attempt on each tier, the last one's too, in any one unit, above 0.
        tiers: names, smallest first.
        vocabulary: `vocabulary_fingerprint` of the tokenizer that gave the ids.
        ngrams, bits: of `prompt_features`; 2 and 16 suit subword tokens.

    Raises:
        ValueError: if the sizes differ or a cost is not above 0.
    """
    shape = (len(tiers) - 1, len(prompt_ids))
    if right_HN.shape != shape or len(costs) != len(tiers):
        raise ValueError(
            f"{len(tiers)} tiers need as many costs, not {len(costs)}, and with {len(prompt_ids)} "
            f"prompts labels of shape {shape}, not {right_HN.shape}"
        )
    if not prompt_ids or not all(0.0 < cost < float("inf") for cost in costs):
        raise ValueError("needed: at least one prompt, and costs above 0")
    prompts = design(prompt_ids, ngrams, bits)
    margins = skip_margins(right_HN, costs)
    fitted = [fit_chance(prompts, right_N, bits) for right_N in right_HN]
    chances = [
        TierChance(**msgspec.structs.asdict(chance), skip_below=margin)
        for chance, margin in zip(fitted, margins, strict=True)
    ]
    return EntryModel(
        version=1,
        tiers=list(tiers),
        vocabulary=vocabulary,
        ngrams=ngrams,
        bits=bits,
        chances=chances,
        samples=len(prompt_ids),
        report={},
    )
