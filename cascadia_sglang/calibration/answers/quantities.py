"""Numbers with their units, as answers write them: exact values, compared to nine digits.

A point separates decimals. A comma separates groups of three digits, and decimals where the digits
behind it are no such group. Fractions, mixed numbers, powers of ten and scales ("3.2 million") are
numbers too. Numbers in words count only where a text has no digits.
"""

# ruff: noqa: RUF001  signs of mathematics and typography stand for themselves
import re
from dataclasses import dataclass
from fractions import Fraction

from cascadia_sglang.calibration.answers.claims import Token, claimed
from cascadia_sglang.calibration.answers.final_answer import final_answer
from cascadia_sglang.calibration.answers.number_words import SCALES, number_words
from cascadia_sglang.calibration.answers.plain_text import plain_text
from cascadia_sglang.calibration.answers.units import Unit, unit_after, unit_before

_TOLERANCE = Fraction(1, 10**9)
# Beyond these an answer is no number that anybody asked for.
_MOST_DIGITS, _MOST_BASE_DIGITS, _LARGEST_EXPONENT = 100, 9, 300

_PLAIN = (
    r"\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}(?!\d)"
    r"|\d+(?:[.,]\d+)?|\.\d+"
)
_NUMBER = re.compile(
    rf"(?<![\w.,^])(?:(?P<base>\d+)\s?\^\s?\(?(?P<power>[-+]?\d+)\)?"
    rf"|(?P<whole>\d+)(?:[ \t]+|[ \t]+and[ \t]+)(?P<part>\d+)[ \t]*/[ \t]*(?P<of>\d+)"
    rf"|(?P<over>\d+(?:,\d{{3}})*)[ \t]*/[ \t]*(?P<under>\d+(?:,\d{{3}})*)"
    rf"|(?P<plain>{_PLAIN})(?:[eE](?P<e>[-+]?\d+)"
    rf"|[ \t]*[×x*][ \t]*10[ \t]?\^[ \t]?\(?(?P<exponent>[-+]?\d+)\)?)?)"
)
_SCALE = re.compile(rf"[ \t]+(?P<scale>{'|'.join(SCALES)})s?\b", re.IGNORECASE)
_ORDINAL = re.compile(r"(?:st|nd|rd|th)\b", re.IGNORECASE)
_SIGN = re.compile(r"(?:(?P<sign>[-+–])|(?P<spaced>-)[ \t]+|\b(?P<word>negative|minus)\s+)$", re.I)
_VARIABLE = re.compile(r"(?:^|[\s(])[A-Za-z][ \t]+$")
# What makes another value of the number behind it, or before it.
_CHANGED_BEFORE = re.compile(r"(?:[√∛]|\b(?:sqrt|log|ln|sin|cos|tan|root)\b|\\[A-Za-z]+)[\s(]*$")
_CHANGED_AFTER = re.compile(r"[ \t]*(?:\^|\*\*|[√π∞]|\\[A-Za-z]|![ \t]*[=/*×])|\w|[.:/,]\d")
_JOINED = re.compile(r"[ \t]*,?[ \t]+(?:and[ \t]+)?", re.IGNORECASE)
_ORDINALS_OF_LINES = re.compile(r"^[ \t]*(\d{1,2})[.)][ \t]+(?=\S)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number and its unit.

    Attributes:
        number: as it is written; None where several parts with units make it up.
        amount: in the dimension's own unit.
        dimension: None without a unit.
    """

    number: Fraction | None
    amount: Fraction
    dimension: str | None

    def is_same(self, other: "Quantity") -> bool:
        """Whether both are equal to nine digits, in units that convert where both have one."""
        if self.dimension is None or other.dimension is None:
            if self.number is None or other.number is None:
                return False
            return _is_near(self.number, other.number)
        return self.dimension == other.dimension and _is_near(self.amount, other.amount)


def answered_quantity(text: str) -> Quantity | None:
    """The quantity that a text gives as its answer; None where it gives none, or not one alone."""
    answer = final_answer(text)
    if answer is None:
        return None
    plain = _without_ordinals(answer.text)
    return claimed(plain, _tokens(plain), from_start=answer.is_marked)


def whole_quantity(text: str) -> Quantity | None:
    """The quantity that a text consists of; None for any other text."""
    plain = plain_text(text).strip().rstrip(".")
    tokens = _tokens(plain)
    if len(tokens) != 1 or (tokens[0].start, tokens[0].end) != (0, len(plain)):
        return None
    return tokens[0].value


def _is_near(first: Fraction, second: Fraction) -> bool:
    return abs(first - second) <= _TOLERANCE * max(abs(first), abs(second))


def _without_ordinals(text: str) -> str:
    """The text without the numbers of its steps, where lines count up from 1."""
    expected = 1
    parts, start = [], 0
    for match in _ORDINALS_OF_LINES.finditer(text):
        if int(match[1]) == expected:
            parts.append(text[start : match.start()])
            start, expected = match.end(), expected + 1
    return "".join(parts) + text[start:] if expected > 2 else text


@dataclass(frozen=True, slots=True)
class _Part:
    """A number in a text, None where it cannot be read, and the unit beside it."""

    start: int
    end: int
    number: Fraction | None
    unit: Unit | None

    def token(self) -> Token[Quantity]:
        if self.number is None:
            return Token(self.start, self.end, None)
        size, dimension = (1, None) if self.unit is None else (self.unit.size, self.unit.dimension)
        return Token(self.start, self.end, Quantity(self.number, self.number * size, dimension))


def _tokens(text: str) -> list[Token[Quantity]]:
    parts = [
        _part(text, match.start(), match.end(), _value(match)) for match in _NUMBER.finditer(text)
    ]
    if not parts:
        parts = [
            _part(text, start, end, None if value is None else Fraction(value))
            for start, end, value in number_words(text)
        ]
    return _joined(text, parts)


def _part(text: str, start: int, end: int, number: Fraction | None) -> _Part:
    """A number with what belongs to it: sign, currency, scale and unit."""
    if scale := _SCALE.match(text, end):
        end = scale.end()
        number = None if number is None else number * SCALES[scale["scale"].lower()]
    elif ordinal := _ORDINAL.match(text, end):
        end = ordinal.end()
    unit = None
    if unit_and_offset := unit_after(text, end):
        unit, end = unit_and_offset
    start, number, is_signed = _with_sign(text, start, number)
    if unit_and_offset := unit_before(text, start):
        unit, start = unit_and_offset
        if not is_signed:
            start, number, _ = _with_sign(text, start, number)
    if _CHANGED_AFTER.match(text, end) or _CHANGED_BEFORE.search(text, max(0, start - 20), start):
        number = None
    if _is_item(text, start, end):
        number = None
    return _Part(start, end, number, unit)


def _with_sign(text: str, start: int, number: Fraction | None) -> tuple[int, Fraction | None, bool]:
    """Where a number with its sign begins, its value, and whether it has a sign.

    The value is None where the sign may be an operator.
    """
    match = _SIGN.search(text, max(0, start - 12), start)
    if match is None:
        return start, number, False
    before = text[max(0, match.start() - 12) : match.start()]
    last = before.rstrip(" \t")[-1:]
    if last.isdigit() or last in (")", "%"):
        return start, number, False  # an operator, or a range
    if match["sign"] and (before[-1:].isalnum() or _VARIABLE.search(before)):
        return start, None, False
    if match["spaced"]:
        if last in ("", "\n"):
            return start, number, False  # an item of a list of lines
        if last not in "=≈:(":
            return start, None, False
    is_negative = match["sign"] != "+"
    return match.start(), None if number is None else -number if is_negative else number, True


def _is_item(text: str, start: int, end: int) -> bool:
    """Whether a number with a comma is two items of a list in brackets."""
    before, after = text[max(0, start - 1) : start], text[end : end + 1]
    item = text[start:end]
    if "," not in item or before not in ("(", "[", "{") or after not in (")", "]", "}"):
        return False
    return before != "(" or not re.fullmatch(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?", item)


def _value(match: re.Match[str]) -> Fraction | None:
    if match.end() - match.start() > _MOST_DIGITS:
        return None
    if match["base"]:
        base, power = int(match["base"]), int(match["power"])
        is_small = abs(power) <= _LARGEST_EXPONENT and len(match["base"]) <= _MOST_BASE_DIGITS
        return Fraction(base) ** power if is_small and (base or power > 0) else None
    if match["whole"]:
        part = _division(match["part"], match["of"])
        return None if part is None or part >= 1 else int(match["whole"]) + part
    if match["over"]:
        return _division(match["over"], match["under"])
    exponent = int(match["e"] or match["exponent"] or 0)
    if abs(exponent) > _LARGEST_EXPONENT:
        return None
    return _decimal(match["plain"]) * Fraction(10) ** exponent


def _division(over: str, under: str) -> Fraction | None:
    divisor = int(under.replace(",", ""))
    return Fraction(int(over.replace(",", "")), divisor) if divisor else None


def _decimal(text: str) -> Fraction:
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", text):
        return Fraction(text.replace(",", ""))
    if "," in text or text.count(".") > 1:  # points separate groups, and a comma decimals
        text = text.replace(".", "").replace(",", ".")
    return Fraction(text)


def _joined(text: str, parts: list[_Part]) -> list[Token[Quantity]]:
    """Tokens of the parts; those of falling units of one dimension are one ("2 h 30 min")."""
    tokens: list[Token[Quantity]] = []
    last: Unit | None = None
    for part in parts:
        token = part.token()
        before = tokens[-1] if tokens else None
        if (
            before is not None
            and _JOINED.fullmatch(text, before.end, part.start)
            and _continues(last, before.value, part)
        ):
            assert before.value is not None
            assert token.value is not None
            amount = before.value.amount + token.value.amount
            number = before.value.number if part.number == 0 else None
            token = Token(before.start, part.end, Quantity(number, amount, token.value.dimension))
            tokens.pop()
        tokens.append(token)
        last = part.unit
    return tokens


def _continues(last: Unit | None, before: Quantity | None, part: _Part) -> bool:
    """Whether a part fills up the unit before it."""
    unit, number = part.unit, part.number
    if last is None or before is None or unit is None or number is None:
        return False
    is_smaller = unit.dimension == last.dimension and unit.size < last.size
    return is_smaller and before.amount > 0 and 0 <= number * unit.size < last.size
