"""Families of questions on numbers: arithmetic and comparisons."""

from __future__ import annotations

from random import Random

from bench.real.mixes.drawn import Drawn, Family


def _number(rng: Random, low_digits: int, high_digits: int) -> int:
    digits = rng.randint(low_digits, high_digits)
    return rng.randrange(10 ** (digits - 1), 10**digits)


def _sum(rng: Random) -> Drawn:
    left, right = _number(rng, 1, 4), _number(rng, 1, 3)
    return Drawn(prompt=f"{left} + {right} = ?", answer=str(left + right))


def _difference(rng: Random) -> Drawn:
    small, large = sorted((_number(rng, 2, 4), _number(rng, 3, 4)))
    return Drawn(prompt=f"{large} - {small} = ?", answer=str(large - small))


def _product(rng: Random) -> Drawn:
    left, right = _number(rng, 2, 2), _number(rng, 1, 2)
    return Drawn(prompt=f"{left} * {right} = ?", answer=str(left * right))


def _quotient(rng: Random) -> Drawn:
    divisor, quotient = rng.randint(3, 15), _number(rng, 1, 2)
    return Drawn(prompt=f"{divisor * quotient} / {divisor} = ?", answer=str(quotient))


def _remainder(rng: Random) -> Drawn:
    number, divisor = _number(rng, 2, 2), rng.randint(3, 9)
    prompt = f"What is the remainder of {number} divided by {divisor}?"
    return Drawn(prompt=prompt, answer=str(number % divisor))


def _chain(rng: Random) -> Drawn:
    first, second, third = rng.randint(2, 30), rng.randint(2, 15), rng.randint(2, 9)
    if rng.random() < 0.5:
        total = first + second - third
        return Drawn(prompt=f"{first} + {second} - {third} = ?", answer=str(total))
    return Drawn(prompt=f"{first} + {second} * {third} = ?", answer=str(first + second * third))


def _larger(rng: Random) -> Drawn:
    """Two decimals of one whole part, often of another number of places."""
    whole = rng.randint(0, 99)
    left, right = rng.sample(range(1, 100), 2)
    texts = [f"{whole}.{part % 10 if part % 3 == 0 else f'{part:02d}'}" for part in (left, right)]
    if float(texts[0]) == float(texts[1]):
        return _larger(rng)
    prompt = f"Which number is larger: {texts[0]} or {texts[1]}?"
    return Drawn(prompt=prompt, answer=max(texts, key=float))


def _smallest(rng: Random) -> Drawn:
    numbers = [_number(rng, 2, 4) * rng.choice((1, -1)) for _ in range(4)]
    listed = ", ".join(map(str, numbers))
    return Drawn(prompt=f"Which is the smallest number: {listed}?", answer=str(min(numbers)))


def _percent(rng: Random) -> Drawn:
    percent, number = rng.choice((5, 10, 20, 25, 30, 40, 50, 75)), 20 * rng.randint(1, 45)
    return Drawn(prompt=f"What is {percent}% of {number}?", answer=str(percent * number // 100))


def _shopping(rng: Random) -> Drawn:
    had, bought = rng.randint(3, 60), rng.randint(3, 40)
    prompt = f"Tom has {had} apples and buys {bought} more. How many apples does he have now?"
    return Drawn(prompt=prompt, answer=str(had + bought), also=(f"{had + bought} apples",))


FAMILIES: dict[str, Family] = {
    "sum": _sum,
    "difference": _difference,
    "product": _product,
    "quotient": _quotient,
    "remainder": _remainder,
    "chain": _chain,
    "larger": _larger,
    "smallest": _smallest,
    "percent": _percent,
    "shopping": _shopping,
}
