"""Families of short Python expressions; Python itself says what each prints.

None changes the case of letters: the checker does not look at it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from bench.real.mixes.drawn import WORDS, Drawn, Family


def _numbers(rng: Random, count: int) -> list[int]:
    return [rng.randint(0, 20) for _ in range(count)]


def _slice(rng: Random) -> str:
    end = rng.randint(1, 4)
    return f"{rng.choice(WORDS)!r}[{rng.choice((f':{end}', f':{end}', f'1:{end + 1}', '1:'))}]"


def _letter(rng: Random) -> str:
    return f"{rng.choice(WORDS)!r}[{rng.choice((0, 0, 1, 2, 3, -1, -1))}]"


def _length(rng: Random) -> str:
    added = rng.choice(("", "", f" + {rng.randint(1, 9)}"))
    return f"len({rng.choice(WORDS)!r}){added}"


def _count(rng: Random) -> str:
    word = rng.choice(WORDS)
    return f"{word!r}.count({rng.choice(word)!r})"


def _element(rng: Random) -> str:
    return f"{_numbers(rng, rng.randint(3, 5))}[{rng.choice((0, 1, 2, -1))}]"


def _sorted(rng: Random) -> str:
    return f"sorted({_numbers(rng, rng.randint(3, 5))})[{rng.choice((0, 1, 2, -1, -2))}]"


def _sum_range(rng: Random) -> str:
    start = rng.randint(0, 4)
    return f"sum(range({start}, {start + rng.randint(2, 5)}))"


def _sum_list(rng: Random) -> str:
    name = rng.choice(("sum", "max", "min", "len"))
    return f"{name}({_numbers(rng, rng.randint(3, 5))})"


def _comprehension(rng: Random) -> str:
    body = rng.choice(("x * x", "x + 3", "2 * x", "x - 1"))
    return f"[{body} for x in {sorted(rng.sample(range(10), 2))}]"


def _filter(rng: Random) -> str:
    test = rng.choice(("x > 5", "x % 2 == 0", "x < 9", "x % 3 == 0"))
    return f"len([x for x in {_numbers(rng, 4)} if {test}])"


def _division(rng: Random) -> str:
    return f"{rng.randint(5, 60)} {rng.choice(('//', '%'))} {rng.randint(2, 9)}"


def _power(rng: Random) -> str:
    added = rng.choice(("", "", f" + {rng.randint(1, 9)}"))
    return f"{rng.randint(2, 12)} ** {rng.choice((2, 2, 3))}{added}"


def _truth(rng: Random) -> str:
    first, second, third = _numbers(rng, 3)
    return rng.choice(
        (
            f"{first} < {second}",
            f"{first} > {second}",
            f"{first} == {rng.choice((first, second))}",
            f"{first} < {second} and {second} < {third}",
            f"{rng.choice('aeiou')!r} in {rng.choice(WORDS)!r}",
        )
    )


def _split(rng: Random) -> str:
    mark = rng.choice(",;-")
    words = mark.join(rng.sample(WORDS, 3))
    return f"{words!r}.split({mark!r})[{rng.choice((0, 1, 2, -1))}]"


def _set_size(rng: Random) -> str:
    return f"len(set({[rng.randint(1, 4) for _ in range(rng.randint(3, 6))]}))"


def _repeat(rng: Random) -> str:
    return f"{rng.choice(WORDS)[:2]!r} * {rng.randint(2, 4)}"


def _lookup(rng: Random) -> str:
    keys, values = rng.sample("abcdef", 3), _numbers(rng, 3)
    table = dict(zip(keys, values, strict=True))
    return f"{table}[{rng.choice(keys)!r}] + {rng.randint(1, 9)}"


def _glued(rng: Random) -> str:
    left, right = rng.sample(WORDS, 2)
    first, second = _numbers(rng, 2)
    return rng.choice((f"{left[:3]!r} + {right[:3]!r}", f"str({first}) + str({second})"))


def _converted(rng: Random) -> str:
    first, second = _numbers(rng, 2)
    return f"int('{first}') {rng.choice('+-*')} {second}"


def _words(rng: Random) -> str:
    words = " ".join(rng.sample(WORDS, 3))
    return f"{words!r}.split()[{rng.choice((0, 1, 2, -1))}]"


def _absolute(rng: Random) -> str:
    first, second = _numbers(rng, 2)
    return rng.choice((f"abs({first} - {second})", f"max({first}, {second}) - 1"))


def _choice(rng: Random) -> str:
    left, right = rng.sample(WORDS, 2)
    first, second = _numbers(rng, 2)
    return f"{left!r} if {first} > {second} else {right!r}"


EXPRESSIONS: dict[str, Callable[[Random], str]] = {
    "slice": _slice,
    "letter": _letter,
    "length": _length,
    "count": _count,
    "element": _element,
    "sorted": _sorted,
    "sum_range": _sum_range,
    "sum_list": _sum_list,
    "comprehension": _comprehension,
    "filter": _filter,
    "division": _division,
    "power": _power,
    "truth": _truth,
    "split": _split,
    "set_size": _set_size,
    "repeat": _repeat,
    "lookup": _lookup,
    "glued": _glued,
    "converted": _converted,
    "words": _words,
    "absolute": _absolute,
    "choice": _choice,
}


def _printed(expression: Callable[[Random], str]) -> Family:
    def draw(rng: Random) -> Drawn:
        text = expression(rng)
        # The text is made here, out of numbers and known words.
        return Drawn(prompt=f"What does Python print? print({text})", answer=str(eval(text)))

    return draw


FAMILIES: dict[str, Family] = {
    name: _printed(expression) for name, expression in EXPRESSIONS.items()
}
