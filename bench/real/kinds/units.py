"""Conversions between units of length, weight, time and count."""

from __future__ import annotations

from random import Random

from bench.real.kinds.task import Facts, Kind, Task

UNITS = (  # the larger unit, the smaller one, how many of these
    ("hours", "minutes", 60),
    ("minutes", "seconds", 60),
    ("days", "hours", 24),
    ("weeks", "days", 7),
    ("years", "months", 12),
    ("meters", "centimeters", 100),
    ("kilometers", "meters", 1000),
    ("kilograms", "grams", 1000),
    ("liters", "milliliters", 1000),
    ("centimeters", "millimeters", 10),
    ("feet", "inches", 12),
    ("yards", "feet", 3),
    ("miles", "yards", 1760),
    ("pounds", "ounces", 16),
    ("dozens", "pieces", 12),
)


def _down(rng: Random) -> Facts:
    large, small, factor = rng.choice(UNITS)
    count = rng.randint(2, 12) + rng.choice((0.0, 0.0, 0.5))
    fields = {"count": f"{count:g}", "large": large, "small": small}
    return Facts(fields=fields, answers=(f"{count * factor:g}",))


def _up(rng: Random) -> Facts:
    large, small, factor = rng.choice(UNITS)
    count = rng.randint(2, 12)
    fields = {"count": count * factor, "large": large, "small": small}
    return Facts(fields=fields, answers=(str(count),))


def _mixed(rng: Random) -> Facts:
    large, small, factor = rng.choice([unit for unit in UNITS if unit[2] <= 100])
    whole, rest = rng.randint(2, 5), rng.randint(2, min(factor - 1, 20))
    fields = {"whole": whole, "rest": rest, "large": large, "small": small}
    return Facts(fields=fields, answers=(str(whole * factor + rest),))


KIND: Kind = (
    Task(
        draw=_down,
        wordings=(
            "How many {small} are {count} {large}?",
            "Convert {count} {large} to {small}.",
            "{count} {large} = ? {small}",
            "Express {count} {large} in {small}.",
            "A value of {count} {large} is how much in {small}?",
            "Write {count} {large} as a number of {small}.",
            "How many {small} make up {count} {large}?",
            "I have {count} {large}. What is that when measured in {small}?",
        ),
    ),
    Task(
        draw=_up,
        wordings=(
            "How many {large} are {count} {small}?",
            "Convert {count} {small} to {large}.",
            "{count} {small} = ? {large}",
            "Express {count} {small} in {large}.",
            "A value of {count} {small} is how much in {large}?",
            "Write {count} {small} as a number of {large}.",
            "How many {large} does one get from {count} {small}?",
            "I measured {count} {small}. What is that in {large}?",
        ),
    ),
    Task(
        draw=_mixed,
        wordings=(
            "How many {small} are {whole} {large} and {rest} {small}?",
            "Convert {whole} {large} {rest} {small} to {small} only.",
            "{whole} {large} + {rest} {small} = ? {small}",
            "Give {whole} {large} and {rest} {small} in {small}.",
            "Something measures {whole} {large} and {rest} {small}. How many {small} is that?",
            "Put {whole} {large}, {rest} {small} into {small} alone.",
            "What is the total in {small} of {whole} {large} and another {rest} {small}?",
            "Add {rest} {small} to {whole} {large}; answer in {small}.",
        ),
    ),
)
