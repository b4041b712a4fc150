"""Dates as answers write them: ISO, with the month's English name, or in numbers alone.

A date in numbers whose day and month could be exchanged is read only in the order that is asked
for. Two-digit years are not read. A weekday that is not the date's makes it none.
"""

# ruff: noqa: RUF001  signs of mathematics and typography stand for themselves
import datetime
import re
from dataclasses import dataclass
from typing import Literal

from cascadia_sglang.calibration.answers.claims import Token, claimed
from cascadia_sglang.calibration.answers.final_answer import final_answer
from cascadia_sglang.calibration.answers.plain_text import plain_text

Order = Literal["day-first", "month-first"]

_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MONTH_NAMES = "|".join([*_MONTHS, *(month[:3] for month in _MONTHS), "sept"])
_MONTH = rf"(?P<month>{_MONTH_NAMES})\.?(?![a-z])"
_WEEKDAY_NAMES = "|".join([*_WEEKDAYS, *(f"{day[:3]}[a-z]{{0,2}}" for day in _WEEKDAYS)])
_WEEKDAY = rf"(?:(?P<weekday>{_WEEKDAY_NAMES})\.?,?\s+)?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>\d{4})(?!\d)"
_ALONE, _ENDS = r"(?<![\d/.-])", r"(?![\d/]|[-.]\d)"
_FORMS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        # 2024-03-05
        rf"{_ALONE}{_YEAR}(?P<by>[-/.])(?P<number>\d{{1,2}})(?P=by)(?P<day>\d{{1,2}}){_ENDS}",
        # 2024年3月5日
        r"(?<!\d)(?P<year>\d{4})\s*年\s*(?P<number>\d{1,2})\s*月\s*(?P<day>\d{1,2})\s*日",
        # 05/03/2024, in either order
        rf"{_ALONE}(?P<first>\d{{1,2}})(?P<by>[-/.])(?P<second>\d{{1,2}})(?P=by){_YEAR}{_ENDS}",
        # Tuesday, the 5th of March, 2024 and 5-Mar-2024
        rf"\b{_WEEKDAY}(?:the\s+)?(?<![\d.,]){_DAY}(?:\s+(?:day\s+)?(?:of\s+)?|-){_MONTH}"
        rf"(?:(?:,?\s+|-){_YEAR})?",
        # Tuesday, March 5th, 2024
        rf"\b{_WEEKDAY}{_MONTH}\s+(?:the\s+)?{_DAY}(?![\d:,.]*\d|\s*[-–]\s*\d)(?:,?\s+{_YEAR})?",
        # March 2024
        rf"\b{_MONTH}(?:,|\s+of)?\s+{_YEAR}",
    )
)
# Bounds of time, which of numbers are none: "after 5 days".
_BOUND_BEFORE = re.compile(
    r"\b(?:before|after|by|since|until|till|prior to|from|no later than|no earlier than)\s+$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Date:
    """A date; parts that are not said are None."""

    year: int | None
    month: int
    day: int | None

    def is_same(self, other: "Date") -> bool:
        """Whether both have the same parts."""
        return self == other

    def fits(self, reference: "Date") -> bool:
        """Whether it has every part of a reference, with the same value."""
        return self.month == reference.month and all(
            expected is None or part == expected
            for part, expected in ((self.year, reference.year), (self.day, reference.day))
        )


def answered_date(text: str, order: Order | None = None) -> Date | None:
    """The date that a text gives as its answer; None where it gives none, or not one alone."""
    answer = final_answer(text)
    if answer is None:
        return None
    return claimed(answer.text, _tokens(answer.text, order), from_start=answer.is_marked)


def whole_date(text: str, order: Order | None = None) -> Date | None:
    """The date that a text consists of; None for any other text."""
    plain = plain_text(text).strip().rstrip(".")
    tokens = _tokens(plain, order)
    if len(tokens) != 1 or (tokens[0].start, tokens[0].end) != (0, len(plain)):
        return None
    return tokens[0].value


def _tokens(text: str, order: Order | None) -> list[Token[Date]]:
    """Dates of all forms; where two overlap, the earlier form of the longer one."""
    matches = [match for form in _FORMS for match in form.finditer(text)]
    tokens: list[Token[Date]] = []
    for match in sorted(matches, key=lambda match: (match.start(), -match.end())):
        if tokens and match.start() < tokens[-1].end:
            continue
        is_bound = _BOUND_BEFORE.search(text, max(0, match.start() - 20), match.start())
        value = None if is_bound else _date(match, order)
        tokens.append(Token(match.start(), match.end(), value))
    return tokens


def _date(match: re.Match[str], order: Order | None) -> Date | None:
    """None where there is no such date, or it cannot be told which of two is meant."""
    parts = {name: value for name, value in match.groupdict().items() if value is not None}
    year = int(parts["year"]) if "year" in parts else None
    day: int | None
    if "first" in parts:
        numbers = int(parts["first"]), int(parts["second"])
        day, month = numbers if order != "month-first" else numbers[::-1]
        if order is None and day != month and max(numbers) <= 12:
            return None
        if month > 12 and order is None:
            day, month = month, day
    else:
        month = int(parts["number"]) if "number" in parts else _number_of(parts["month"])
        day = int(parts["day"]) if "day" in parts else None
    if not 1 <= month <= 12 or (day is not None and not 1 <= day <= _MONTH_DAYS[month - 1]):
        return None
    if year is None or day is None:
        return Date(year, month, day)
    try:
        weekday = datetime.date(year, month, day).weekday()
    except ValueError:  # the 29th of February of a common year, or year 0
        return None
    named = parts.get("weekday", _WEEKDAYS[weekday])[:3].lower()
    return Date(year, month, day) if _WEEKDAYS[weekday].startswith(named) else None


def _number_of(month: str) -> int:
    name = month.lower().rstrip(".")[:3]
    return next(number for number, full in enumerate(_MONTHS, 1) if full.startswith(name))
