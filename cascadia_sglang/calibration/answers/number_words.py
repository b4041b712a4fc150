"""Whole numbers that are written in words, such as "two hundred and five"."""

import re
from collections.abc import Iterator

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
SCALES = {
    "hundred": 100,
    "thousand": 1_000,
    "million": 1_000_000,
    "billion": 1_000_000_000,
    "trillion": 1_000_000_000_000,
    "dozen": 12,
}
_SMALL = {word: value for value, word in enumerate(_ONES)} | {
    word: 10 * value for value, word in enumerate(_TENS, 2)
}
_WORD = "|".join(sorted({*_SMALL, *SCALES}, key=len, reverse=True))
_STARTS = "|".join(sorted(_SMALL, key=len, reverse=True))
_RUN = re.compile(
    rf"(?<![\w-])(?:{_STARTS})(?:(?:[\s-]+|\s+and\s+)(?:{_WORD}))*(?![\w-])", re.IGNORECASE
)
_PART_FOLLOWS = re.compile(
    r"(?:\s+and\s+an?)?[\s-]+(?:point|half|halves|(?:third|quarter|fourth|fifth|sixth|seventh"
    r"|eighth|ninth|tenth)s?)\b",
    re.IGNORECASE,
)
# Where "one" is a pronoun.
_PRONOUN_BEFORE = re.compile(
    r"\b(?:the|this|that|each|every|no|any|which|last|another|other|first|next|correct|right)\s+$",
    re.IGNORECASE,
)
_PRONOUN_AFTER = re.compile(r"\s+(?:of|another|who|that|which|can|should|must)\b", re.IGNORECASE)


def number_words(text: str) -> Iterator[tuple[int, int, int | None]]:
    """Start, end and value of every number in words; None for what is no whole number."""
    for match in _RUN.finditer(text):
        start, end = match.span()
        words = re.findall(r"[a-z]+", match[0].lower())
        is_pronoun = words == ["one"] and (
            _PRONOUN_BEFORE.search(text, max(0, start - 20), start)
            or _PRONOUN_AFTER.match(text, end)
        )
        if not is_pronoun:
            yield start, end, None if _PART_FOLLOWS.match(text, end) else _value(words)


def _value(words: list[str]) -> int | None:
    """By the rules of English: scales fall, and below each stands a number under a thousand."""
    total, group, last_scale = 0, 0, 10**15
    room = 1_000  # the next small number stays below it
    for word in words:
        if word == "and":
            continue
        if word in _SMALL:
            value = _SMALL[word]
            if value >= room or (value == 0 and len(words) > 1):
                return None
            group += value
            room = 10 if value >= 20 else 0
        elif word == "hundred":
            if not 0 < group < 100:
                return None
            group, room = 100 * group, 100
        else:
            scale = SCALES[word]
            if not group or scale >= last_scale:
                return None
            total, group, last_scale = total + group * scale, 0, scale
            room = 1_000 if scale > 12 else 0
    return total + group
