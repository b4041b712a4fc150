"""The voices of a cascade: which tiers are asked and read in the same way."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from cascadia_sglang.config.settings import CascadeConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """Tiers that share tokenizer, chat template, parsers and sampling defaults.

    Attributes:
        number: 0 for the first tier's.
        name: that of its first tier.
        tiers: indices, rising.
        tokenizer: number of its tokenizer. In voices of one tokenizer a token id means the same.
        difference: between it and the first voice, in words; empty for the first voice.
    """

    number: int
    name: str
    tiers: tuple[int, ...]
    tokenizer: int
    difference: str = ""


@dataclass(frozen=True, kw_only=True)
class Voices:
    """The voices of a cascade, in the order of their first tiers; every tier has one."""

    all: tuple[Voice, ...]

    @classmethod
    def single(cls, names: Sequence[str]) -> "Voices":
        """A single voice for tiers of these names."""
        tiers = tuple(range(len(names)))
        return cls(all=(Voice(number=0, name=names[0], tiers=tiers, tokenizer=0),))

    def with_missing(self, tiers: int) -> "Voices":
        """With the tiers that no voice has, of so many, in the first one."""
        missing = set(range(tiers)) - self._of_tiers.keys()
        first = replace(self.all[0], tiers=tuple(sorted({*self.all[0].tiers, *missing})))
        return Voices(all=(first, *self.all[1:])) if missing else self

    @property
    def is_one(self) -> bool:
        """Whether all tiers have the same voice."""
        return len(self.all) == 1

    def of_tier(self, tier_index: int) -> Voice:
        """The voice of a tier."""
        return self._of_tiers[tier_index]

    def share_tokenizer(self, tier_index: int, other_tier: int) -> bool:
        """Whether a token id means the same to two tiers."""
        return self.of_tier(tier_index).tokenizer == self.of_tier(other_tier).tokenizer

    @cached_property
    def leaders(self) -> tuple[Voice, ...]:
        """The first voice of every tokenizer, by its number."""
        first_voices: dict[int, Voice] = {}
        for voice in self.all:
            first_voices.setdefault(voice.tokenizer, voice)
        return tuple(first_voices[number] for number in sorted(first_voices))

    def tiers_of_tokenizer(self, tokenizer: int) -> frozenset[int]:
        """The tiers to which the ids of a tokenizer mean something."""
        return self._of_tokenizers[tokenizer]

    @cached_property
    def _of_tokenizers(self) -> tuple[frozenset[int], ...]:
        numbers = range(len(self.leaders))
        return tuple(
            frozenset(t for voice in self.all if voice.tokenizer == number for t in voice.tiers)
            for number in numbers
        )

    @cached_property
    def _of_tiers(self) -> dict[int, Voice]:
        return {tier: voice for voice in self.all for tier in voice.tiers}


def voice_lines(voices: Voices, config: CascadeConfig) -> list[str]:
    """A line for each voice, with its tiers and how it differs; none where there is one."""
    if voices.is_one:
        return []
    lines = []
    for voice in voices.all:
        names = ", ".join(config.tiers[tier].name for tier in voice.tiers)
        difference = f", unlike {voices.all[0].name}: {voice.difference}" if voice.number else ""
        lines.append(f"voice {voice.name}: tiers {names}{difference}")
    return lines
