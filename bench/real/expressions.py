"""Families of short Python expressions; Python itself says what each prints.

None changes the case of letters: the checker does not look at it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from bench.real.drawn import WORDS, Drawn, Family


def _numbers(rng: Random, count: int) -> list[int]:
    return [rng.randint(0, 20) for _ in range(count)]


def _slice(rng: Random) -> str:
    word, start = rng.choice(WORDS), rng.randint(0, 2)
    return f"{word!r}[{start}:{rng.randint(start + 1, 5)}]"


def _letter(rng: Random) -> str:
    return f"{rng.choice(WORDS)!r}[{rng.choice((0, 1, 2, 3, -1, -2))}]"


def _reverse(rng: Random) -> str:
    return f"{rng.choice(WORDS)[: rng.randint(3, 5)]!r}[::-1]"


def _length(rng: Random) -> str:
    left, right = rng.sample(WORDS, 2)
    if rng.random() < 0.5:
        return f"len({left!r} + {right!r})"
    return f"len({left!r}) {rng.choice('+-*')} {rng.randint(1, 9)}"


def _count(rng: Random) -> str:
    word = rng.choice(WORDS)
    return f"{word!r}.count({rng.choice(word)!r})"


def _find(rng: Random) -> str:
    word = rng.choice(WORDS)
    return f"{word!r}.find({rng.choice(word)!r})"


def _replace(rng: Random) -> str:
    word = rng.choice(WORDS)
    return f"{word!r}.replace({rng.choice(word)!r}, {rng.choice('xz')!r})"


def _list_slice(rng: Random) -> str:
    start = rng.randint(0, 3)
    return f"{_numbers(rng, 5)}[{start}:{start + rng.randint(1, 2)}]"


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
    return f"{rng.randint(11, 99)} {rng.choice(('//', '%'))} {rng.randint(2, 9)}"


def _power(rng: Random) -> str:
    return f"{rng.randint(2, 9)} ** {rng.randint(2, 3)} {rng.choice('+-')} {rng.randint(1, 9)}"


def _truth(rng: Random) -> str:
    first, second, third = _numbers(rng, 3)
    word = rng.choice(WORDS)
    return rng.choice(
        (
            f"{first} < {second} and {second} < {third}",
            f"{first} > {second} or {third} == {second}",
            f"not {first} > {second}",
            f"{rng.choice('aeiou')!r} in {word!r}",
            f"{word!r} < {rng.choice(WORDS)!r}",
        )
    )


def _join(rng: Random) -> str:
    return f"{rng.choice('-_+')!r}.join({[word[:3] for word in rng.sample(WORDS, 2)]})"


def _split(rng: Random) -> str:
    mark = rng.choice(",;-")
    words = mark.join(rng.sample(WORDS, 3))
    return f"{words!r}.split({mark!r})[{rng.choice((0, 1, 2, -1))}]"


def _set_size(rng: Random) -> str:
    return f"len(set({[rng.randint(1, 4) for _ in range(rng.randint(3, 6))]}))"


def _base(rng: Random) -> str:
    number = rng.randint(3, 40)
    return rng.choice((f"bin({number})", f"hex({number})", f"int('{number:b}', 2)"))


def _repeat(rng: Random) -> str:
    return f"{rng.choice(WORDS)[:2]!r} * {rng.randint(2, 4)}"


def _lookup(rng: Random) -> str:
    keys, values = rng.sample("abcdef", 3), _numbers(rng, 3)
    table = dict(zip(keys, values, strict=True))
    return f"{table}[{rng.choice(keys)!r}] + {rng.randint(1, 9)}"


def _choice(rng: Random) -> str:
    left, right = rng.sample(WORDS, 2)
    first, second = _numbers(rng, 2)
    return f"{left!r} if {first} > {second} else {right!r}"


def _printed(expression: Callable[[Random], str]) -> Family:
    def draw(rng: Random) -> Drawn:
        text = expression(rng)
        # The text is made here, out of numbers and known words.
        return Drawn(prompt=f"What does Python print? print({text})", answer=str(eval(text)))

    return draw


FAMILIES: dict[str, Family] = {
    name: _printed(expression)
    for name, expression in {
        "slice": _slice,
        "letter": _letter,
        "reverse": _reverse,
        "length": _length,
        "count": _count,
        "find": _find,
        "replace": _replace,
        "list_slice": _list_slice,
        "sorted": _sorted,
        "sum_range": _sum_range,
        "sum_list": _sum_list,
        "comprehension": _comprehension,
        "filter": _filter,
        "division": _division,
        "power": _power,
        "truth": _truth,
        "join": _join,
        "split": _split,
        "set_size": _set_size,
        "base": _base,
        "repeat": _repeat,
        "lookup": _lookup,
        "choice": _choice,
    }.items()
}
