"""Chances that tiers answer a prompt acceptably, from the prompt alone.

Shape legend: B buckets, K models, F distinct buckets of a prompt.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.entry.features import prompt_features


class PromptChance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A logistic model of one tier: the chance that its answer to a prompt is acceptable."""

    weights: bytes
    """Weights of the buckets: float32, little-endian; base64 in the file."""
    length_weight: float
    """Weight of ln(1 + prompt tokens)."""
    bias: float
    """Constant term of the log-odds."""


def check_prompt_chances(
    tiers: Sequence[str], chances: Sequence[PromptChance], ngrams: int, bits: int
) -> None:
    """See that models of these tiers fit the features of a prompt.

    Raises:
        ValueError: if not; names the tier.
    """
    if not 1 <= ngrams <= 8:
        raise ValueError(f"ngrams is {ngrams}, allowed: 1 to 8")
    if not 1 <= bits <= 24:
        raise ValueError(f"bits is {bits}, allowed: 1 to 24")
    for name, chance in zip(tiers, chances, strict=False):
        if len(chance.weights) != 4 << bits:
            raise ValueError(
                f"weights of tier {name} have {len(chance.weights)} bytes, needed: "
                f"{4 << bits}, four for each of the 2^{bits} buckets"
            )
        weights_B = np.frombuffer(chance.weights, dtype="<f4")
        numbers = [chance.length_weight, chance.bias]
        if not np.isfinite(weights_B).all() or not all(map(math.isfinite, numbers)):
            raise ValueError(f"weights of tier {name} are not all finite")


class PromptScorer:
    """Models ready for use in the router: NumPy alone, well below a millisecond for a prompt."""

    def __init__(self, chances: Sequence[PromptChance], ngrams: int, bits: int) -> None:
        self._ngrams, self._bits = ngrams, bits
        columns = [np.frombuffer(chance.weights, dtype="<f4") for chance in chances]
        self._weights_BK = np.column_stack(columns).astype(np.float64)
        self._length_weight_K = np.array([chance.length_weight for chance in chances])
        self._bias_K = np.array([chance.bias for chance in chances])

    def log_odds(self, prompt_ids: Sequence[int]) -> FloatArray:
        """Of every model, [K].

        Raises:
            OverflowError: if an id needs more than 64 bits.
        """
        buckets_F, values_F, log_tokens = prompt_features(prompt_ids, self._ngrams, self._bits)
        log_odds_K: FloatArray = values_F @ self._weights_BK[buckets_F]
        log_odds_K += log_tokens * self._length_weight_K + self._bias_K
        return log_odds_K
