"""The entry model's file, its scorer, and the decision where a prompt begins its climb.

Shape legend: H judged tiers (every tier but the last).
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.entry.prompt_chance import PromptChance, PromptScorer, check_prompt_chances
from cascadia_sglang.files.struct_file import check_tiers, load_struct


class TierChance(PromptChance, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tier's chance, and below which the tier is skipped."""

    skip_below: float
    """The tier is skipped where its chance is below, in [0, 1]."""


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
        check_prompt_chances(self.tiers, self.chances, self.ngrams, self.bits)
        for name, chance in zip(self.tiers, self.chances, strict=False):
            if not 0.0 <= chance.skip_below <= 1.0:
                raise ValueError(
                    f"skip_below of tier {name} is {chance.skip_below}, allowed: 0 to 1"
                )


class EntryScorer:
    """An entry model ready for use in the router: NumPy alone, well below a millisecond."""

    def __init__(self, model: EntryModel) -> None:
        self.vocabulary = model.vocabulary
        self._prompts = PromptScorer(model.chances, model.ngrams, model.bits)
        self._skip_below = [chance.skip_below for chance in model.chances]

    def chances(self, prompt_ids: Sequence[int]) -> FloatArray:
        """Chance that each tier's answer is acceptable, [H], in [0, 1].

        Raises:
            OverflowError: if an id needs more than 64 bits.
        """
        log_odds_H = self._prompts.log_odds(prompt_ids)
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
