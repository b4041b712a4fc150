"""Labels of real-looking answers, of every rendering of a number or a date, and of noise."""

# ruff: noqa: RUF001  signs of mathematics and typography stand for themselves
import datetime
import string
import time
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cascadia_sglang.calibration.answers.dates import answered_date
from cascadia_sglang.calibration.answers.number_words import number_words
from cascadia_sglang.calibration.answers.quantities import answered_quantity
from cascadia_sglang.calibration.answers.units import _TABLE, unit_after
from cascadia_sglang.calibration.answers.words import gives_words, plain_words
from cascadia_sglang.calibration.record.labels import Labeler
from cascadia_sglang.calibration.record.sample import Question
from tests.unit.calibration.answers.answers_table import RIGHT, WRONG


def label(kind: str, reference: str, answer: str) -> bool:
    question = Question(id="q", prompt="p", reference=reference)
    return Labeler(kind)([question], [[answer]])[0][0]


@pytest.mark.parametrize(("kind", "reference", "answer"), RIGHT)
def test_a_right_answer_is_accepted(kind: str, reference: str, answer: str) -> None:
    assert label(kind, reference, answer)


@pytest.mark.parametrize(("kind", "reference", "answer"), WRONG)
def test_a_wrong_answer_is_refused(kind: str, reference: str, answer: str) -> None:
    assert not label(kind, reference, answer)


def grouped(value: int, by: str) -> str:
    return f"{value:,}".replace(",", by)


ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)  # fmt: skip
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def in_words(value: int) -> str:
    """A whole number from 0 to 999,999 in English; an independent writer of what is read."""
    if value < 20:
        return ONES[value]
    if value < 100:
        rest = f"-{ONES[value % 10]}" if value % 10 else ""
        return TENS[value // 10 - 2] + rest
    if value < 1000:
        rest = f" and {in_words(value % 100)}" if value % 100 else ""
        return f"{ONES[value // 100]} hundred{rest}"
    rest = f" {in_words(value % 1000)}" if value % 1000 else ""
    return f"{in_words(value // 1000)} thousand{rest}"


WHOLE: tuple[Callable[[int], str], ...] = (
    str,
    lambda value: grouped(value, ","),
    lambda value: grouped(value, "\u202f"),
    lambda value: grouped(value, r"\,"),
    lambda value: grouped(value, "{,}"),
    lambda value: f"{value}.00",
    lambda value: f"{value}e0",
    lambda value: f"{2 * value}/2",
    lambda value: rf"\frac{{{3 * value}}}{{3}}",
    lambda value: f"{value} × 10^0",
    lambda value: f"${value}$",
    in_words,
)
# Places for an answer in a text that claims it; `{}` is the answer.
CLAIMS = (
    "{}",
    "{}.",
    "**{}**",
    "The answer is {}.",
    "Final answer: {}",
    "#### {}",
    r"So it is $\boxed{{{}}}$.",
    "It is not 987654321123 but {}.",
    "We get 987654321 + 1 = 987654322, and no more.\nThe answer is {}, since 1 + 1 = 2.",
    "<think>987654321123?</think>{}",
)
whole_numbers = st.integers(0, 999_999)


def is_read(claim: str, write: Callable[[int], str]) -> bool:
    """Whether the claim has no digits beside a number in words, which then would not count."""
    return write is not in_words or not any(sign.isdigit() for sign in claim.split("</think>")[-1])


@given(whole_numbers, st.sampled_from(WHOLE), st.sampled_from(WHOLE), st.sampled_from(CLAIMS))
@settings(max_examples=400, deadline=None)
def test_a_whole_number_is_itself_however_it_is_written(
    value: int, form: Callable[[int], str], other_form: Callable[[int], str], claim: str
) -> None:
    assume(is_read(claim, form))
    quantity, expected = (
        answered_quantity(claim.format(form(value))),
        answered_quantity(other_form(value)),
    )
    assert quantity is not None
    assert expected is not None
    assert quantity.number == value
    assert quantity.is_same(expected)


@given(
    whole_numbers,
    whole_numbers,
    st.sampled_from(WHOLE),
    st.sampled_from(WHOLE),
    st.sampled_from(CLAIMS),
)
@settings(max_examples=400, deadline=None)
def test_a_whole_number_is_never_another(
    value: int,
    other: int,
    form: Callable[[int], str],
    another: Callable[[int], str],
    claim: str,
) -> None:
    assume(value != other)
    assert not label("number", another(other), claim.format(form(value)))


@given(st.integers(-(10**6), 10**6), st.integers(1, 10**4))
@settings(max_examples=300, deadline=None)
def test_a_fraction_is_itself_and_no_neighbour(over: int, under: int) -> None:
    value = Fraction(over, under)
    sign, size = ("-" if value < 0 else ""), abs(value)
    whole, part = divmod(size.numerator, size.denominator)
    forms = [
        f"{over}/{under}",
        rf"{sign}\frac{{{size.numerator}}}{{{size.denominator}}}",
        rf"\boxed{{{sign}\frac{{{size.numerator}}}{{{size.denominator}}}}}",
        f"{float(value):.17g}",
    ]
    if part and whole:
        forms.append(f"{sign}{whole} {part}/{size.denominator}")
        forms.append(rf"{sign}{whole}\frac{{{part}}}{{{size.denominator}}}")
    for form in forms:
        assert label("number", str(value), form), form
        near = value + max(size, Fraction(1, under)) / 1000
        assert not label("number", f"{near.numerator}/{near.denominator}", form), form


@given(
    st.decimals(min_value="-99999.999", max_value="99999.999", places=3),
    st.integers(-12, 12),
)
@settings(max_examples=200, deadline=None)
def test_a_power_of_ten_moves_the_point(decimal: object, exponent: int) -> None:
    expected = Fraction(str(decimal)) * Fraction(10) ** exponent
    for form in (
        f"{decimal}e{exponent}",
        f"{decimal} × 10^{exponent}",
        rf"${decimal} \times 10^{{{exponent}}}$",
    ):
        quantity = answered_quantity(form)
        assert quantity is not None, form
        assert quantity.number == expected, form


@pytest.mark.parametrize("dimension", sorted(_TABLE))
def test_every_unit_of_a_dimension_converts_into_the_others_and_into_no_other(
    dimension: str,
) -> None:
    names = [
        (Fraction(size), name.replace("_", " "))
        for size, of in _TABLE[dimension]
        for name in of.split()
    ]
    first = names[0][0]
    for size, name in names:
        answer = f"The answer is {3 * first / size} {name}."
        assert label("number", f"3 {names[0][1]}", answer), answer
        assert not label("number", f"3.1 {names[0][1]}", answer), answer
        for other in _TABLE:
            if other != dimension:
                foreign = _TABLE[other][0][1].split()[0]
                assert not label("number", f"{3 * first / size} {foreign}", answer), foreign


def test_no_name_is_of_two_units() -> None:
    names = [name for units in _TABLE.values() for _, of in units for name in of.split()]
    assert len(names) == len(set(names))
    for name in names:
        assert unit_after(name.replace("_", " "), 0) is not None, name


def test_numbers_in_words_are_read_as_they_are_written() -> None:
    for value in (*range(2_000), *range(2_000, 1_000_000, 7_919)):
        text = in_words(value)
        assert list(number_words(text)) == [(0, len(text), value)], text


@pytest.mark.parametrize("text", ["five six", "twenty thirty", "hundred", "two million thousand"])
def test_words_in_no_order_of_a_number_are_none(text: str) -> None:
    assert all(value is None for _, _, value in number_words(text))


MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


def date_forms(day: datetime.date) -> list[str]:
    month, number = MONTHS[day.month - 1], day.day
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number not in (11, 12, 13) else 0, "th")
    return [
        day.isoformat(),
        f"{day.year}/{day.month}/{number}",
        f"{month} {number}, {day.year}",
        f"{month[:3]}. {number}{ending} {day.year}",
        f"{number} {month} {day.year}",
        f"the {number}{ending} of {month}, {day.year}",
        f"{number:02}-{month[:3]}-{day.year}",
        f"{day:%A}, {month} {number}, {day.year}",
        f"{day:%a}, {number} {month[:3]} {day.year}",
        f"{day.year}年{day.month}月{number}日",
    ]


dates = st.dates(datetime.date(1000, 1, 1), datetime.date(9999, 12, 31))


@given(dates, st.sampled_from(CLAIMS[:6]))
@settings(max_examples=150, deadline=None)
def test_a_date_is_itself_however_it_is_written(day: datetime.date, claim: str) -> None:
    for form in date_forms(day):
        assert label("date", day.isoformat(), claim.format(form)), form


@given(dates, dates)
@settings(max_examples=150, deadline=None)
def test_a_date_is_never_another(day: datetime.date, other: datetime.date) -> None:
    assume(day != other)
    for form in date_forms(day):
        assert not label("date", other.isoformat(), form), form


@given(dates)
@settings(max_examples=150, deadline=None)
def test_a_date_in_numbers_is_read_in_the_order_asked_for_alone(day: datetime.date) -> None:
    day_first = f"{day.day}/{day.month}/{day.year}"
    month_first = f"{day.month}/{day.day}/{day.year}"
    iso = day.isoformat()
    assert label("date:day-first", iso, day_first)
    assert label("date:month-first", iso, month_first)
    is_clear = day.day > 12 or day.day == day.month
    assert label("date", iso, day_first) is is_clear
    assert label("date", iso, month_first) is is_clear
    if day.day != day.month:
        assert not label("date:day-first", iso, month_first)
        assert not label("date:month-first", iso, day_first)


@given(st.text(st.sampled_from(string.ascii_letters + "éß"), min_size=1, max_size=12))
@settings(max_examples=200, deadline=None)
def test_a_word_is_said_by_every_claim(word: str) -> None:
    assume(plain_words(word) not in ("a", "an", "the", "or", "not", "no", "and", "is"))
    for claim in ("{}", "{}.", "The answer is {}.", "**Answer:** {}", r"\boxed{{\text{{{}}}}}"):
        assert gives_words(claim.format(word), plain_words(word)), claim
        assert not gives_words(claim.format(word), plain_words(word + "x"))
    assert not gives_words(f"The answer is not {word}.", plain_words(word))


@given(st.text(st.sampled_from("0123456789.,/^-+*×%$€ ()[]{}\\=<>?!\nabeonx'\""), max_size=200))
@settings(max_examples=600, deadline=None)
def test_noise_raises_nothing(text: str) -> None:
    answered_quantity(text)
    answered_date(text)
    gives_words(text, "one")


@pytest.mark.parametrize(
    "piece",
    ["9", "1,", "1 ", "1/", "(", "{", "$", "\\frac{", "10^", "a ", "five ", "=", "-", "<", "1\n",
     "the answer is ", "\\boxed{", "March ", "5/5/", "**", " and 1", "if the "],
)  # fmt: skip
def test_a_long_answer_is_read_in_little_time(piece: str) -> None:
    text = piece * (20_000 // len(piece))
    started = time.process_time()
    answered_quantity(text)
    answered_date(text)
    gives_words(text, "five")
    assert time.process_time() - started < 4.0
