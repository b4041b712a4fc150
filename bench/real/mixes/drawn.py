"""What a family of questions draws, and the words that several families draw from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

WORDS = (
    "apple", "bread", "chair", "cloud", "dance", "dream", "eagle", "field", "flower", "forest",
    "garden", "glass", "green", "guitar", "horse", "house", "island", "jacket", "juice", "kettle",
    "kitchen", "ladder", "lemon", "letter", "light", "market", "mirror", "monkey", "morning",
    "mountain", "music", "needle", "ocean", "orange", "paper", "pencil", "pepper", "picture",
    "pillow", "planet", "pocket", "potato", "rabbit", "river", "rocket", "salad", "school",
    "silver", "spider", "spoon", "spring", "stone", "summer", "table", "tiger", "train", "turtle",
    "village", "water", "window", "winter", "yellow",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A prompt and its answer; `also` are answers that mean the same."""

    prompt: str
    answer: str
    also: tuple[str, ...] = ()


# A family makes one question out of a generator of random numbers.
Family = Callable[[Random], Drawn]
