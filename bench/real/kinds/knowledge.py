"""Common knowledge with one right answer: capitals, chemical symbols, opposites."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from bench.real.kinds.task import Facts, Kind, Task
from bench.real.mixes.texts import CAPITALS, OPPOSITES, SYMBOLS


def _of(table: Mapping[str, str], rng: Random) -> Facts:
    entry = rng.choice(tuple(table))
    return Facts(fields={"asked": entry}, answers=(table[entry],))


KIND: Kind = (
    Task(
        draw=lambda rng: _of(CAPITALS, rng),
        wordings=(
            "What is the capital of {asked}?",
            "Name the capital city of {asked}.",
            "{asked}: capital?",
            "Which city is the seat of government of {asked}?",
            "The capital of {asked} is",
            "Give me the name of {asked}'s capital.",
            "A traveller wants to see the capital of {asked}. To which city does the journey go?",
            "On a map of {asked}, which city is marked as the capital?",
        ),
    ),
    Task(
        draw=lambda rng: _of(SYMBOLS, rng),
        wordings=(
            "What is the chemical symbol of {asked}?",
            "Give the symbol of the element {asked}.",
            "{asked}: chemical symbol?",
            "How is {asked} written in the periodic table?",
            "Which letters stand for {asked} in a chemical formula?",
            "Write the element {asked} as a symbol.",
            "The abbreviation of {asked} in chemistry is",
            "In the periodic table, {asked} has which symbol?",
        ),
    ),
    Task(
        draw=lambda rng: _of(OPPOSITES, rng),
        wordings=(
            'What is the opposite of "{asked}"?',
            'Give an antonym of "{asked}" in one word.',
            '"{asked}" is the contrary of which word?',
            "Opposite of {asked}?",
            'Name the word that means the reverse of "{asked}".',
            'Not "{asked}" but',
            'Which word is the usual counterpart of "{asked}"?',
            "In a list of opposites, what stands beside {asked}?",
        ),
    ),
)
