"""A task of a kind: what it draws, and the wordings in which it asks for that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

MIN_WORDINGS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a question asks about.

    Attributes:
        fields: the words and numbers that a wording names in braces.
        answers: each is right; the first is the plain one.
    """

    fields: Mapping[str, object]
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Draws facts, and asks for the answer in one of its wordings.

    Raises:
        ValueError: if it has fewer than `MIN_WORDINGS` wordings, or two are equal.
    """

    draw: Callable[[Random], Facts]
    wordings: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.wordings)) < MIN_WORDINGS:
            raise ValueError(f"{len(set(self.wordings))} wordings, at least {MIN_WORDINGS} needed")

    def prompt(self, facts: Facts, wording: int) -> str:
        """The question, in the wording of this number."""
        return self.wordings[wording].format(**facts.fields)


Kind = tuple[Task, ...]
