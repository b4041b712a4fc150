"""Numbers compared and combined: decimals, fractions, percentages, negative numbers."""

from __future__ import annotations

from fractions import Fraction
from random import Random

from bench.real.kinds.task import Facts, Kind, Task


def _extreme(rng: Random) -> Facts:
    whole = rng.randint(-9, 20)
    parts = rng.sample(range(1, 100), rng.randint(3, 5))
    texts = [f"{whole}.{part // 10 if part % 10 == 0 else f'{part:02d}'}" for part in parts]
    is_largest = rng.random() < 0.5
    answer = (max if is_largest else min)(texts, key=float)
    fields = {"numbers": ", ".join(texts), "extreme": "largest" if is_largest else "smallest"}
    return Facts(fields=fields, answers=(answer,))


def _percent(rng: Random) -> Facts:
    percent, number = rng.choice((5, 10, 15, 20, 25, 30, 40, 60, 75, 80)), 20 * rng.randint(2, 60)
    return Facts(
        fields={"percent": percent, "number": number}, answers=(str(percent * number // 100),)
    )


def _sum(rng: Random) -> Facts:
    left, right = rng.randint(11, 999), rng.randint(11, 999)
    sign = rng.choice("+-*")
    if sign == "*":
        right = rng.randint(3, 19)
    value = {"+": left + right, "-": left - right, "*": left * right}[sign]
    return Facts(fields={"left": left, "right": right, "sign": sign}, answers=(str(value),))


def _fraction(rng: Random) -> Facts:
    denominators = rng.sample(range(2, 10), 2)
    left, right = (Fraction(rng.randint(1, d - 1), d) for d in denominators)
    if left == right:
        return _fraction(rng)
    answer = max(left, right)
    fields = {"left": str(left), "right": str(right)}
    return Facts(fields=fields, answers=(str(answer),))


KIND: Kind = (
    Task(
        draw=_extreme,
        wordings=(
            "Which is the {extreme} number: {numbers}?",
            "Of {numbers}, name the {extreme}.",
            "Give the {extreme} of these: {numbers}",
            "Numbers: {numbers}. {extreme} one?",
            "Among {numbers}, which value is {extreme}?",
            "Pick the {extreme} from [{numbers}].",
            "The list {numbers} has which {extreme} entry?",
            "Compare {numbers} and state the {extreme} number.",
        ),
    ),
    Task(
        draw=_percent,
        wordings=(
            "What is {percent}% of {number}?",
            "Compute {percent} percent of {number}.",
            "{percent}% of {number} = ?",
            "How much is {percent} percent of {number}?",
            "Take {percent}% from a total of {number}: what amount is that?",
            "Of {number} people, {percent}% agree. How many people agree?",
            "A tax of {percent}% on {number} dollars comes to how many dollars?",
            "{number} times {percent} percent gives?",
        ),
    ),
    Task(
        draw=_sum,
        wordings=(
            "{left} {sign} {right} = ?",
            "Compute {left} {sign} {right}.",
            "What is {left} {sign} {right}?",
            "Evaluate: {left} {sign} {right}",
            "Give the value of {left} {sign} {right}.",
            "Solve for x: x = {left} {sign} {right}",
            "The result of {left} {sign} {right} is?",
            "A calculator is fed {left} {sign} {right}. What does it show?",
        ),
    ),
    Task(
        draw=_fraction,
        wordings=(
            "Which is larger: {left} or {right}?",
            "Name the greater of {left} and {right}.",
            "Of the fractions {left} and {right}, which one is bigger?",
            "Compare {left} with {right}; give the larger fraction.",
            "Is {left} or {right} the larger number? State it.",
            "max({left}, {right}) as a fraction?",
            "Two cups hold {left} and {right} liters. Which amount is larger?",
            "Pick the bigger fraction: {left}, {right}",
        ),
    ),
)
