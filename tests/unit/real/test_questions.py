"""The questions for real models: right answers by another way, fixed draws, short texts."""

import calendar
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from bench.real.checker import is_right
from bench.real.mixes import texts
from bench.real.questions import MIX_SIZE, MIXES, RealQuestion, questions

ALL = questions()
DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
PLACES = ["first", "second", "third", "fourth", "fifth", "sixth"]
PLACES_FROM_END = ["last", "second to last", "third to last"]
NUMERALS = {"C": 100, "XC": 90, "L": 50, "XL": 40, "X": 10, "IX": 9, "V": 5, "IV": 4, "I": 1}


def of_mix(mix: str) -> list[RealQuestion]:
    return [question for question in ALL if question.mix == mix]


def integers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"-?\d+", text)]


def calculated(question: RealQuestion) -> str:
    """The answer to a question on numbers, from its text alone."""
    text = question.prompt
    match question.family:
        case "quotient":
            dividend, divisor = integers(text)
            return next(str(q) for q in range(1000) if q * divisor == dividend)
        case "sum" | "difference" | "product" | "chain":
            return str(eval(text.removesuffix(" = ?")))
        case "remainder":
            number, divisor = integers(text)
            while number >= divisor:
                number -= divisor
            return str(number)
        case "larger":
            left, right = re.findall(r"(\d+)\.(\d+)", text)
            first, second = (whole + part.ljust(4, "0") for whole, part in (left, right))
            return ".".join(left if int(first) > int(second) else right)
        case "smallest":
            return str(sorted(integers(text))[0])
        case "percent":
            percent, number = integers(text)
            return str(round(number / 100 * percent))
        case "shopping":
            return str(sum(integers(text)))
    raise AssertionError(question)


def test_arithmetic_is_right() -> None:
    for question in of_mix("arithmetic"):
        assert question.answers[0] == calculated(question), question


def test_python_prints_the_answers() -> None:
    """A fresh interpreter runs the text of every prompt."""
    sample = of_mix("python")
    program = "\n".join(q.prompt.removeprefix("What does Python print? ") for q in sample)
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [question.answers[0] for question in sample]


def in_sentence(question: RealQuestion) -> str:
    match = re.fullmatch(
        r"(\w+), (\d+), of (\w+) sold a (\w+) (\w+) for (\d+) dollars\. (.*)", question.prompt
    )
    assert match is not None
    _, age, city, colour, thing, price, final_question = match.groups()
    return {
        "Where does the seller live?": city,
        "What colour was it?": colour,
        "How old is the seller?": age,
        "What was the price in dollars?": price,
        "What was sold?": thing,
    }[final_question]


def of_numeral(text: str) -> int:
    """The value of a Roman numeral."""
    total = 0
    while text:
        sign = next(s for s in sorted(NUMERALS, key=len, reverse=True) if text.startswith(s))
        total, text = total + NUMERALS[sign], text.removeprefix(sign)
    return total


def month_days(question: RealQuestion) -> str:
    months = [m for m in calendar.month_name[1:] if re.search(rf"\b{m}\b", question.prompt)]
    numbers = [list(calendar.month_name).index(month) for month in months]
    year = integers(question.prompt)[0]
    return str(sum(calendar.monthrange(year, number)[1] for number in numbers))


def units(question: RealQuestion) -> str:
    target_unit, count, given = re.fullmatch(
        r"How many (\w+) are (\d+) (\w+)\?", question.prompt
    ).groups()
    sizes = (
        {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86_400, "weeks": 604_800}
        | {"months": 1, "years": 12, "grams": 1, "kilograms": 1000, "eggs": 1, "dozens": 12}
        | {"centimeters": 1, "meters": 100, "kilometers": 100_000, "inches": 1, "feet": 12}
    )
    value, rest = divmod(int(count) * sizes[given], sizes[target_unit])
    assert rest == 0
    return str(value)


def weekday(question: RealQuestion) -> str:
    day, later = re.match(r"Today is (\w+)\. .* in (\d+) day", question.prompt).groups()
    return (DAYS * 3)[DAYS.index(day.lower()) + int(later)]


def roman(question: RealQuestion) -> str:
    numeral = re.search(r"numeral (\w+) as", question.prompt)
    if numeral:
        return str(of_numeral(numeral.group(1)))
    assert str(of_numeral(question.answers[0])) == re.search(r"\d+", question.prompt).group()
    return question.answers[0]


def number_word(question: RealQuestion) -> str:
    """Reads the tens and the ones by their first letters."""
    words = question.prompt.split()[1].split("-")
    begins = ["on", "tw", "th", "fo", "fi", "si", "se", "ei", "ni"]
    values = [begins.index(word[:2]) + 1 if word[:2] in begins else 0 for word in words]
    last = words[-1]
    if last in ("ten", "eleven", "twelve"):
        return str(["ten", "eleven", "twelve"].index(last) + 10)
    if last.endswith("teen"):
        return str(10 + values[-1])
    tens = 10 * values[0] if words[0].endswith("ty") else 0
    return str(tens + (0 if last.endswith("ty") else values[-1]))


def next_name(question: RealQuestion) -> str:
    name, is_after = question.prompt.split()[-1].strip("?"), " after " in question.prompt
    names = [*calendar.month_name[1:]] if "month" in question.prompt else list(calendar.day_name)
    return (
        dict(zip(names, names[1:] + names[:1], strict=True))[name]
        if is_after
        else (dict(zip(names[1:] + names[:1], names, strict=True))[name])
    )


def listed(question: RealQuestion) -> list[str]:
    return re.findall(r"\w+", question.prompt.partition(":")[2])


def after(question: RealQuestion) -> list[str]:
    return question.prompt.partition("? ")[2].split()


def quoted(question: RealQuestion) -> list[str]:
    return re.findall(r'"(\w+)"', question.prompt)


def place_name(question: RealQuestion) -> str:
    return re.match(r"What is the (.*) (word\?|letter of)", question.prompt).group(1)


SOLVERS: dict[str, Callable[[RealQuestion], str]] = {
    "nth_word": lambda q: after(q)[PLACES.index(place_name(q))],
    "nth_from_end": lambda q: after(q)[-1 - PLACES_FROM_END.index(place_name(q))],
    "sort_words": lambda q: ", ".join(sorted(listed(q), key=list)),
    "first_of": lambda q: sorted(listed(q), key=list)[0],
    "longest": lambda q: max(listed(q), key=len),
    "count_letter": lambda q: str(len(quoted(q)[1].split(quoted(q)[0])) - 1),
    "letters_of": lambda q: str(sum(1 for _ in quoted(q)[0])),
    "nth_letter": lambda q: list(quoted(q)[0])[PLACES.index(place_name(q))],
    "extract": in_sentence,
    "month_days": month_days,
    "weekday": weekday,
    "units": units,
    "number_word": number_word,
    "next": next_name,
    "roman": roman,
}
FACTS = {"capital": texts.CAPITALS, "symbol": texts.SYMBOLS, "opposite": texts.OPPOSITES}


@pytest.mark.parametrize("family", SOLVERS)
def test_an_answer_on_a_text_is_right(family: str) -> None:
    family_questions = [question for question in of_mix("text") if question.family == family]
    assert len(family_questions) >= 10
    for question in family_questions:
        assert is_right(SOLVERS[family](question), question.answers), question


def test_every_family_on_texts_is_solved_here_or_a_table_of_facts() -> None:
    assert {*SOLVERS, *FACTS} == set(texts.FAMILIES)


@pytest.mark.parametrize("family", FACTS)
def test_a_fact_is_asked_for_by_its_key(family: str) -> None:
    for question in of_mix("text"):
        if question.family == family:
            key = re.search(r' of "?([^"]+)"?\?', question.prompt).group(1)
            assert question.answers == (FACTS[family][key],)


def test_every_mix_has_its_size_and_no_prompt_repeats() -> None:
    assert {mix: len(of_mix(mix)) for mix in MIXES} == dict.fromkeys(MIXES, MIX_SIZE)
    assert len({question.prompt for question in ALL}) == len(ALL) >= 1_800
    assert len({question.id for question in ALL}) == len(ALL)


def test_the_same_seed_draws_the_same_and_another_draws_others() -> None:
    assert questions() == ALL
    others = {question.prompt for question in questions(seed=26)}
    shared = sum(question.prompt in others for question in ALL)
    assert shared < len(ALL) / 4


def test_a_smaller_draw_is_the_beginning_of_a_larger_one() -> None:
    few = questions(mix_size=7)
    assert few == [question for mix in MIXES for question in of_mix(mix)[:7]]


def pieces(text: str) -> int:
    """No fewer than a tokenizer that writes digits one by one makes of such a text."""
    return len(re.findall(r"[0-9]|[A-Za-z]{1,7}|[^\w\s]|_|\s(?=[0-9])", text))


def test_prompts_and_answers_are_short() -> None:
    assert max(pieces(question.prompt) for question in ALL) <= 45
    assert max(pieces(question.answers[0]) for question in ALL) <= 8


def test_no_answer_hangs_on_the_case_of_letters() -> None:
    """The checker does not look at it."""
    for question in of_mix("python"):
        assert not re.search(r"\.(upper|lower|title|swapcase|capitalize)\(", question.prompt)
