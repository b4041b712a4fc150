"""Fits an entry model to the sample that the calibration was made of.

Shape legend: N prompts, H judged tiers (every tier but the last).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np

from cascadia_sglang.arrays import BoolArray
from cascadia_sglang.calibration.fit.calibrate import MIN_PART
from cascadia_sglang.calibration.fit.split import parts_of
from cascadia_sglang.calibration.fit.statistics import auroc, ece
from cascadia_sglang.calibration.record.pool import Pool
from cascadia_sglang.entry.fit import fit_entry_model
from cascadia_sglang.entry.model import EntryModel, EntryScorer

# N-grams and bits of their hash. Pairs of subwords say much, and triples are rare; of characters or
# bytes it takes three, and there are fewer of them.
OF_SUBWORDS, OF_CHARACTERS = (2, 16), (3, 14)
MOST_CHARACTERS = 1000
# What answers that leave at once may lose, beside the cascade's own to the same prompts.
MAX_LOSS = 0.005


class LabelledPrompts(NamedTuple):
    """Prompts, as the router has them, and which tiers but the last answer each acceptably."""

    prompt_ids: Sequence[Sequence[int]]
    right_HN: BoolArray


def fit_on_pool(
    pool: Pool,
    prompt_ids: Sequence[Sequence[int]],
    costs: Sequence[float],
    *,
    tiers: Sequence[str],
    vocabulary: str,
    vocabulary_size: int,
    more: LabelledPrompts | None = None,
) -> EntryModel | None:
    """Fit on two thirds of the sample, report on the third that certifies the calibration.

    Args:
        prompt_ids: of every prompt of the pool, as the router has them.
        costs: mean cost of an attempt on each tier, in any one unit, above 0.
        vocabulary: `vocabulary_fingerprint` of the tokenizer that gave the ids.
        more: prompts outside the sample that fit the model too, but for those that are held out
            in the sample; the last tier need not have answered them.

    Returns:
        The model; None for a cascade of one tier, or where either part has fewer prompts than a
        calibration needs.
    """
    is_held_out_N = parts_of(pool) == "certify"
    sizes = int((~is_held_out_N).sum()), int(is_held_out_N.sum())
    if len(tiers) < 2 or min(sizes) < MIN_PART:
        return None
    right_HN = pool.right().T[:-1]
    ngrams, bits = OF_SUBWORDS if vocabulary_size > MOST_CHARACTERS else OF_CHARACTERS
    fitting = [prompt_ids[row] for row in np.flatnonzero(~is_held_out_N)]
    fitting_HN = right_HN[:, ~is_held_out_N]
    held_out = [prompt_ids[row] for row in np.flatnonzero(is_held_out_N)]
    if more is not None:
        held_out_ids = {tuple(ids) for ids in held_out}
        added_rows = [
            row for row, ids in enumerate(more.prompt_ids) if tuple(ids) not in held_out_ids
        ]
        fitting += [more.prompt_ids[row] for row in added_rows]
        fitting_HN = np.hstack((fitting_HN, more.right_HN[:, added_rows]))
    model = fit_entry_model(
        fitting,
        fitting_HN,
        costs,
        tiers=tiers,
        vocabulary=vocabulary,
        ngrams=ngrams,
        bits=bits,
    )
    report = worth(model, held_out, right_HN[:, is_held_out_N])
    return msgspec.structs.replace(model, report=report)


def worth(
    model: EntryModel, prompt_ids: Sequence[Sequence[int]], right_HN: BoolArray
) -> dict[str, float]:
    """How good the chances are on prompts that did not fit them, and where those would begin."""
    scorer, count = EntryScorer(model), len(model.tiers)
    chances_HN = np.array([scorer.chances(ids) for ids in prompt_ids]).T
    begins_N = np.array([scorer.climb(ids, range(count))[0] for ids in prompt_ids])
    report = {"held_out": float(len(prompt_ids))}
    for tier, name in enumerate(model.tiers[:-1]):
        is_skipped_N = begins_N > tier
        report[f"ece_{name}"] = ece(chances_HN[tier], right_HN[tier])
        report[f"skipped_{name}"] = float(is_skipped_N.mean())
        if 0 < right_HN[tier].sum() < len(prompt_ids):
            report[f"auroc_{name}"] = auroc(chances_HN[tier], right_HN[tier])
        if is_skipped_N.any():
            report[f"right_of_skipped_{name}"] = float(right_HN[tier][is_skipped_N].mean())
    return report


@dataclass(frozen=True, slots=True, kw_only=True)
class AtOnce:
    """Which answers of the first tier may leave before the judge has seen them.

    Attributes:
        chance: from which they do, for `routing.commit_at_once`.
        share: of the prompts.
        loss: of accuracy on these prompts, beside the cascade.
    """

    chance: float
    share: float
    loss: float


def commit_at_once(
    model: EntryModel, prompt_ids: Sequence[Sequence[int]], right_N: BoolArray, served_N: BoolArray
) -> AtOnce | None:
    """The lowest chance from which on answers that leave at once lose at most `MAX_LOSS`.

    Args:
        prompt_ids: of prompts that did not fit the model.
        right_N: whether the first tier's answer is right.
        served_N: whether the cascade's is.

    Returns:
        None where no chance above one half keeps that, or fewer prompts reach it than a
        calibration needs.
    """
    scorer = EntryScorer(model)
    chance_N = np.array([scorer.chance(ids, 0) for ids in prompt_ids])
    order_N = np.argsort(-chance_N, kind="stable")
    lost_N = served_N[order_N].astype(float) - right_N[order_N]
    loss_N = np.cumsum(lost_N) / np.arange(1, len(order_N) + 1)
    keeps_N = (loss_N <= MAX_LOSS) & (chance_N[order_N] > 0.5)
    keeps_N[: MIN_PART - 1] = False
    if not keeps_N.any():
        return None
    last = int(np.flatnonzero(keeps_N)[-1])
    # Rounded up: fewer leave at once than were counted.
    chance = math.ceil(float(chance_N[order_N[last]]) * 1e4) / 1e4
    return AtOnce(chance=chance, share=(last + 1) / len(order_N), loss=float(loss_N[last]))
