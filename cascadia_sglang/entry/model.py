"""The entry model's file, its scorer, and the decision where a prompt begins its climb.

Shape legend: B buckets, H judged tiers (every tier but the last), F distinct buckets of a prompt.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.entry.features import prompt_features
from cascadia_sglang.files.struct_file import check_tiers, load_struct


class TierChance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A logistic model of one tier: the chance that its answer to a prompt is acceptable.

    Attributes:
        weights: of the buckets, float32, little-endian; base64 in the file.
        length_weight: of ln(1 + prompt tokens).
        skip_below: the tier is skipped where its chance is below, in [0, 1].
    """

    weights: bytes
    length_weight: float
    bias: float
    skip_below: float


class EntryModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry model file.

    Attributes:
        tiers: names of all tiers, smallest first.
        vocabulary: `vocabulary_fingerprint` of the tokenizer whose ids it was fitted on.
        ngrams, bits: of `prompt_features`.
        chances: of every tier but the last, smallest first.
        samples: prompts that it was fitted on.
        report: how good it is on prompts that did not fit it.
    """

    version: int
    tiers: list[str]
    vocabulary: str
    ngrams: int
    bits: int
    chances: list[TierChance]
    samples: int
    report: dict[str, float]

    def __post_init__(self) -> None:
        if self.version != 1:
            raise ValueError(f"version is {self.version}, allowed: 1")
        if len(self.tiers) < 2 or len(self.chances) != len(self.tiers) - 1:
            raise ValueError("needed: at least two tiers, and a chance of every tier but the last")
        if not 1 <= self.ngrams <= 8:
            raise ValueError(f"ngrams is {self.ngrams}, allowed: 1 to 8")
        if not 1 <= self.bits <= 24:
            raise ValueError(f"bits is {self.bits}, allowed: 1 to 24")
        for name, chance in zip(self.tiers, self.chances, strict=False):
            if len(chance.weights) != 4 << self.bits:
                raise ValueError(
                    f"weights of tier {name} have {len(chance.weights)} bytes, needed: "
                    f"{4 << self.bits}, four for each of the 2^{self.bits} buckets"
                )
            weights_B = np.frombuffer(chance.weights, dtype="<f4")
            numbers = [chance.length_weight, chance.bias]
            if not np.isfinite(weights_B).all() or not all(map(math.isfinite, numbers)):
                raise ValueError(f"weights of tier {name} are not all finite")
            if not 0.0 <= chance.skip_below <= 1.0:
                raise ValueError(
                    f"skip_below of tier {name} is {chance.skip_below}, allowed: 0 to 1"
                )


class EntryScorer:
    """An entry model ready for use in the router: NumPy alone, well below a millisecond."""

    def __init__(self, model: EntryModel) -> None:
        self.vocabulary = model.vocabulary
        self._ngrams, self._bits = model.ngrams, model.bits
        columns = [np.frombuffer(chance.weights, dtype="<f4") for chance in model.chances]
        self._weights_BH = np.column_stack(columns).astype(np.float64)
        self._length_weight_H = np.array([chance.length_weight for chance in model.chances])
        self._bias_H = np.array([chance.bias for chance in model.chances])
        self._skip_below = [chance.skip_below for chance in model.chances]

    def chances(self, prompt_ids: Sequence[int]) -> FloatArray:
        """Chance that each tier's answer is acceptable, [H], in [0, 1].

        Raises:
            OverflowError: if an id needs more than 64 bits.
        """
        buckets_F, values_F, log_tokens = prompt_features(prompt_ids, self._ngrams, self._bits)
        log_odds_H = values_F @ self._weights_BH[buckets_F]
        log_odds_H += log_tokens * self._length_weight_H + self._bias_H
        chances_H: FloatArray = 1.0 / (1.0 + np.exp(-np.clip(log_odds_H, -700.0, 700.0)))
        return chances_H

    def chance(self, prompt_ids: Sequence[int] | None, tier: int) -> float:
        """Chance that the answer of a tier below the last is acceptable.

        0 where the prompt's ids are not known, or are none that a tokenizer gives.
        """
        if prompt_ids is None:
            return 0.0
        try:
            return float(self.chances(prompt_ids)[tier])
        except OverflowError:
            return 0.0

    def climb(self, prompt_ids: Sequence[int] | None, tiers: Sequence[int]) -> list[int]:
        """The tiers that a prompt visits, of those that it may: all from where it begins.

        It begins at the lowest tier whose chance reaches its `skip_below`, and at the last one
        where none does. A prompt whose ids are not known, or are none that a tokenizer gives, skips
        nothing: what is wrong with it is the engine's to say.

        Args:
            tiers: indices that it may visit, rising, at least one.
        """
        if prompt_ids is None or len(tiers) == 1:
            return list(tiers)
        try:
            chances_H = self.chances(prompt_ids)
        except OverflowError:
            return list(tiers)
        for index, tier in enumerate(tiers[:-1]):
            if chances_H[tier] >= self._skip_below[tier]:
                return list(tiers[index:])
        return [tiers[-1]]


def vocabulary_fingerprint(vocabulary: Mapping[str, int]) -> str:
    """Names a tokenizer's vocabulary: equal for equal tokens and ids, in any order."""
    digest = hashlib.sha256()
    for token, index in sorted(vocabulary.items(), key=lambda item: item[1]):
        digest.update(f"{index} {token}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def load_entry_model(path: Path, tiers: Sequence[str]) -> EntryModel:
    """Read an entry model for a cascade of these tiers.

    Raises:
        ConfigError: if the file is missing, does not fit or is of other tiers; names the place.
    """
    model = load_struct(path, EntryModel, "entry model")
    check_tiers(model.tiers, tiers, f"entry model {path}")
    return model


def configured_entry(config: CascadeConfig) -> EntryScorer | None:
    """The entry model that a cascade's settings name; None where they name none.

    Raises:
        ConfigError: as `load_entry_model` does.
    """
    if config.routing.entry_model is None:
        return None
    path, names = Path(config.routing.entry_model), [tier.name for tier in config.tiers]
    return EntryScorer(load_entry_model(path, names))


def save_entry_model(model: EntryModel, path: Path) -> None:
    """Write an entry model file, stable under version control."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(model), indent=1) + b"\n")
