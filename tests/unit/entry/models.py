"""Entry models without a fit behind them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cascadia_sglang.entry.features import prompt_features
from cascadia_sglang.entry.model import EntryModel, TierChance

BITS = 10


def make_chance(skip_below: float, likes: Sequence[int] = (), weight: float = 8.0) -> TierChance:
    """A tier that nearly always answers prompts of these tokens, and nearly never others."""
    weights_B = np.zeros(1 << BITS, dtype="<f4")
    for token in likes:
        weights_B[prompt_features([token], 1, BITS)[0]] = weight
    return TierChance(
        weights=weights_B.tobytes(), length_weight=0.0, bias=-weight / 2, skip_below=skip_below
    )


def make_model(*chances: TierChance, **fields: Any) -> EntryModel:
    """Of tiers a, b and so on; one chance of a tier that likes token 1, where none is given."""
    chances = chances or (make_chance(0.5, [1]),)
    whole: dict[str, Any] = {
        "version": 1,
        "tiers": list("abcdef"[: len(chances) + 1]),
        "vocabulary": "0123456789abcdef",
        "ngrams": 1,
        "bits": BITS,
        "chances": list(chances),
        "samples": 100,
        "report": {"auroc_a": 0.7},
    }
    return EntryModel(**{**whole, **fields})
