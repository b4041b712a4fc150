"""The task families of the demo: each makes a prompt and its only right answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

LETTERS = "abcdefghij"
KEY_LETTERS = "abcdefghijklmnopqrstuvwxyz"
MAX_PAIRS = 20
MAX_SYSTEM_CHARS = 900  # with as many pairs; room for notes grows with the pairs
MAX_TURNS = 8
MAX_ANSWER_TOKENS = 128  # one a character; the longest answer has 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One question: `size` is the largest drawn size (digits, letters or pairs).

    `turns` are the spans of the prompt that hold answers to earlier questions, their line ends
    included; training learns from them as from the answer.
    """

    family: str
    size: int
    prompt: str
    answer: str
    turns: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A family of questions over sizes `low` to `high`, both included.

    `make` gets as many independently drawn sizes as `sizes_drawn` says.
    """

    name: str
    low: int
    high: int
    sizes_drawn: int
    make: Callable[[Random, tuple[int, ...]], tuple[str, str]]


def _number(rng: Random, digits: int) -> int:
    return rng.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits)


def _letters(rng: Random, length: int) -> str:
    return "".join(rng.choices(LETTERS, k=length))


def _add(rng: Random, sizes: tuple[int, ...]) -> tuple[str, str]:
    left, right = (_number(rng, digits) for digits in sizes)
    return f"add {left} {right}", str(left + right)


def _mul(rng: Random, sizes: tuple[int, ...]) -> tuple[str, str]:
    left, right = _number(rng, sizes[0]), _number(rng, 1)
    return f"mul {left} {right}", str(left * right)


def _rev(rng: Random, sizes: tuple[int, ...]) -> tuple[str, str]:
    word = _letters(rng, sizes[0])
    return f"rev {word}", word[::-1]


def _sort(rng: Random, sizes: tuple[int, ...]) -> tuple[str, str]:
    word = _letters(rng, sizes[0])
    return f"sort {word}", "".join(sorted(word))


def _count(rng: Random, sizes: tuple[int, ...]) -> tuple[str, str]:
    letter, word = rng.choice(LETTERS), _letters(rng, sizes[0])
    return f"count {letter} in {word}", str(word.count(letter))


def _steps(rng: Random, sizes: tuple[int, ...]) -> tuple[str, str]:
    """Write the columns from the right as `a+b+carry=sum w<digit> c<carry>`, then `= total`."""
    left, right = (_number(rng, digits) for digits in sizes)
    columns, carry = [], 0
    for column in range(max(sizes)):
        upper, lower = left // 10**column % 10, right // 10**column % 10
        total = upper + lower + carry
        columns.append(f"{upper}+{lower}+{carry}={total} w{total % 10} c{total // 10}")
        carry = total // 10
    return f"steps {left} {right}", f"{' '.join(columns)} = {left + right}"


def _pairs(rng: Random, count: int) -> tuple[list[str], dict[str, str]]:
    """Lines that set `count` keys, in half of the draws hidden among `note` lines; the pairs."""
    keys: dict[str, str] = {}
    while len(keys) < count:
        keys["".join(rng.choices(KEY_LETTERS, k=2))] = f"{rng.randrange(100):02d}"
    lines = [f"set {key}={value}" for key, value in keys.items()]
    room = rng.randrange(MAX_SYSTEM_CHARS * count // MAX_PAIRS) if rng.random() < 0.5 else 0
    while True:
        note = f"note {_letters(rng, rng.randint(4, 40))}"
        if sum(map(len, lines)) + len(lines) + len(note) > room:
            return lines, keys
        lines.insert(rng.randint(0, len(lines)), note)


def _get(rng: Random, sizes: tuple[int, ...]) -> tuple[str, str]:
    """Ask for one of several pairs."""
    lines, keys = _pairs(rng, sizes[0])
    key = rng.choice(list(keys))
    return "\n".join([*lines, f"get {key}"]), keys[key]


def _recall(rng: Random, sizes: tuple[int, ...]) -> tuple[str, str]:
    """A conversation of `get` questions over the same pairs, some asked again; the last is open."""
    lines, keys = _pairs(rng, sizes[0])
    *earlier, last = rng.choices(list(keys), k=MAX_TURNS)
    for key in earlier:
        lines += [f"get {key}", keys[key]]
    return "\n".join([*lines, f"get {last}"]), keys[last]


def _answered_turns(prompt: str) -> tuple[tuple[int, int], ...]:
    """Where the prompt of a conversation holds the answers to its earlier questions."""
    spans, start, is_answer = [], 0, False
    for line in prompt.split("\n"):
        end = start + len(line) + 1
        if is_answer:
            spans.append((start, end))
        is_answer = line.startswith("get ")
        start = end
    return tuple(spans)


FAMILIES = {
    family.name: family
    for family in (
        Family(name="add", low=1, high=5, sizes_drawn=2, make=_add),
        Family(name="mul", low=1, high=3, sizes_drawn=1, make=_mul),
        Family(name="rev", low=2, high=14, sizes_drawn=1, make=_rev),
        Family(name="sort", low=2, high=12, sizes_drawn=1, make=_sort),
        Family(name="count", low=3, high=16, sizes_drawn=1, make=_count),
        Family(name="steps", low=2, high=6, sizes_drawn=2, make=_steps),
        Family(name="get", low=2, high=MAX_PAIRS, sizes_drawn=1, make=_get),
        Family(name="recall", low=2, high=MAX_PAIRS, sizes_drawn=1, make=_recall),
    )
}

# What the tiers are measured on. `recall` is there to learn from: a long prompt that asks once
# says little.
TEST_FAMILIES = ("add", "mul", "rev", "sort", "count", "steps", "get")


def make_row(family: Family, rng: Random, sizes: tuple[int, ...]) -> Row:
    """A question of a family at given sizes."""
    prompt, answer = family.make(rng, sizes)
    turns = _answered_turns(prompt) if family.name == "recall" else ()
    return Row(family=family.name, size=max(sizes), prompt=prompt, answer=answer, turns=turns)


def is_correct(row: Row, answer_text: str) -> bool:
    """Whether a model's text is the right answer, surrounding white space aside."""
    return answer_text.strip() == row.answer
