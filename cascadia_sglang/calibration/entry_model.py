"""Fits an entry model to the sample that the calibration was made of.

Shape legend: N prompts, H judged tiers (every tier but the last).
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from cascadia_sglang.calibration.calibrate import MIN_PART
from cascadia_sglang.calibration.pool import BoolArray, Pool
from cascadia_sglang.calibration.split import part_of
from cascadia_sglang.calibration.statistics import auroc, ece
from cascadia_sglang.entry.fit import fit_entry_model
from cascadia_sglang.entry.model import EntryModel, EntryScorer

BITS = 16
# Pairs of subwords say much, and triples are rare; of characters or bytes it takes three.
NGRAMS, NGRAMS_OF_CHARACTERS = 2, 3
MOST_CHARACTERS = 1000


def fit_on_pool(
    pool: Pool,
    prompt_ids: Sequence[Sequence[int]],
    costs: Sequence[float],
    *,
    tiers: Sequence[str],
    vocabulary: str,
    vocabulary_size: int,
) -> EntryModel | None:
    """Fit on two thirds of the sample, report on the third that certifies the calibration.

    Args:
        prompt_ids: of every prompt of the pool, as the router has them.
        costs: mean cost of an attempt on each tier, in any one unit, above 0.
        vocabulary: `vocabulary_fingerprint` of the tokenizer that gave the ids.

    Returns:
        The model; None for a cascade of one tier, or where either part has fewer prompts than a
        calibration needs.
    """
    is_held_out_N = np.array([part_of(prompt_id) == "certify" for prompt_id in pool.ids])
    sizes = int((~is_held_out_N).sum()), int(is_held_out_N.sum())
    if len(tiers) < 2 or min(sizes) < MIN_PART:
        return None
    right_HN = pool.right().T[:-1]
    model = fit_entry_model(
        [prompt_ids[row] for row in np.flatnonzero(~is_held_out_N)],
        right_HN[:, ~is_held_out_N],
        costs,
        tiers=tiers,
        vocabulary=vocabulary,
        ngrams=NGRAMS if vocabulary_size > MOST_CHARACTERS else NGRAMS_OF_CHARACTERS,
        bits=BITS,
    )
    held_out = [prompt_ids[row] for row in np.flatnonzero(is_held_out_N)]
    report = worth(model, held_out, right_HN[:, is_held_out_N])
    return msgspec.structs.replace(model, report=report)


def worth(
    model: EntryModel, prompt_ids: Sequence[Sequence[int]], right_HN: BoolArray
) -> dict[str, float]:
    """How good the chances are on prompts that did not fit them, and where those would begin."""
    scorer, count = EntryScorer(model), len(model.tiers)
    chances_HN = np.array([scorer.chances(ids) for ids in prompt_ids]).T
    begins_N = np.array([scorer.climb(ids, range(count))[0] for ids in prompt_ids])
    found = {"held_out": float(len(prompt_ids))}
    for tier, name in enumerate(model.tiers[:-1]):
        is_skipped_N = begins_N > tier
        found[f"ece_{name}"] = ece(chances_HN[tier], right_HN[tier])
        found[f"skipped_{name}"] = float(is_skipped_N.mean())
        if 0 < right_HN[tier].sum() < len(prompt_ids):
            found[f"auroc_{name}"] = auroc(chances_HN[tier], right_HN[tier])
        if is_skipped_N.any():
            found[f"right_of_skipped_{name}"] = float(right_HN[tier][is_skipped_N].mean())
    return found
