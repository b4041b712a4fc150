"""Families of questions on words, sentences and everyday facts."""

from __future__ import annotations

from random import Random

from bench.real.drawn import WORDS, Drawn, Family

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
UNITS = (  # of the larger unit, of the smaller one, how many
    ("hours", "minutes", 60),
    ("minutes", "seconds", 60),
    ("days", "hours", 24),
    ("weeks", "days", 7),
    ("years", "months", 12),
    ("meters", "centimeters", 100),
    ("kilometers", "meters", 1000),
    ("kilograms", "grams", 1000),
    ("feet", "inches", 12),
    ("dozens", "eggs", 12),
)
CAPITALS = {
    "Argentina": "Buenos Aires", "Australia": "Canberra", "Austria": "Vienna",
    "Belgium": "Brussels", "Bulgaria": "Sofia", "Canada": "Ottawa", "Chile": "Santiago",
    "China": "Beijing", "Cuba": "Havana", "Denmark": "Copenhagen", "Egypt": "Cairo",
    "Finland": "Helsinki", "France": "Paris", "Germany": "Berlin", "Greece": "Athens",
    "Hungary": "Budapest", "Iceland": "Reykjavik", "India": "New Delhi", "Iran": "Tehran",
    "Iraq": "Baghdad", "Ireland": "Dublin", "Italy": "Rome", "Jamaica": "Kingston",
    "Japan": "Tokyo", "Kenya": "Nairobi", "Latvia": "Riga", "Mongolia": "Ulaanbaatar",
    "Nepal": "Kathmandu", "New Zealand": "Wellington", "Nigeria": "Abuja", "Norway": "Oslo",
    "Peru": "Lima", "Poland": "Warsaw", "Portugal": "Lisbon", "Romania": "Bucharest",
    "Russia": "Moscow", "Spain": "Madrid", "Sweden": "Stockholm", "Thailand": "Bangkok",
    "Turkey": "Ankara", "Uruguay": "Montevideo", "Vietnam": "Hanoi",
}  # fmt: skip
SYMBOLS = {
    "hydrogen": "H", "helium": "He", "carbon": "C", "nitrogen": "N", "oxygen": "O", "sodium": "Na",
    "magnesium": "Mg", "aluminium": "Al", "silicon": "Si", "sulfur": "S", "chlorine": "Cl",
    "potassium": "K", "calcium": "Ca", "iron": "Fe", "copper": "Cu", "zinc": "Zn", "silver": "Ag",
    "tin": "Sn", "gold": "Au", "mercury": "Hg", "lead": "Pb",
}  # fmt: skip
NAMES = ("Anna", "Boris", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Irene", "Jonas")
CITIES = ("Oslo", "Lima", "Cairo", "Delhi", "Paris", "Tokyo", "Quito", "Milan", "Perth", "Boston")
COLOURS = ("red", "blue", "green", "white", "black", "grey", "brown", "yellow")
THINGS = ("bike", "car", "coat", "hat", "boat", "lamp", "bag", "desk")


def _nth_word(rng: Random) -> Drawn:
    words = rng.sample(WORDS, rng.randint(6, 9))
    place = rng.randrange(len(ORDINALS))
    prompt = f"What is the {ORDINALS[place]} word? {' '.join(words)}"
    return Drawn(prompt=prompt, answer=words[place])


def _nth_from_end(rng: Random) -> Drawn:
    words = rng.sample(WORDS, rng.randint(5, 8))
    place, name = rng.choice(((1, "last"), (2, "second to last"), (3, "third to last")))
    return Drawn(prompt=f"What is the {name} word? {' '.join(words)}", answer=words[-place])


def _sort_words(rng: Random) -> Drawn:
    words = rng.sample(WORDS, 3)
    prompt = f"Sort these words alphabetically: {', '.join(words)}"
    return Drawn(prompt=prompt, answer=", ".join(sorted(words)), also=(" ".join(sorted(words)),))


def _first_of(rng: Random) -> Drawn:
    words = rng.sample(WORDS, rng.randint(3, 5))
    prompt = f"Which word comes first in the alphabet: {', '.join(words)}?"
    return Drawn(prompt=prompt, answer=min(words))


def _longest(rng: Random) -> Drawn:
    words = rng.sample(WORDS, 4)
    lengths = sorted(map(len, words))
    if lengths[-1] == lengths[-2]:
        return _longest(rng)
    prompt = f"Which word is the longest: {', '.join(words)}?"
    return Drawn(prompt=prompt, answer=max(words, key=len))


def _count_letter(rng: Random) -> Drawn:
    word = rng.choice(WORDS)
    letter = rng.choice(word)
    prompt = f'How many times does the letter "{letter}" occur in "{word}"?'
    return Drawn(prompt=prompt, answer=str(word.count(letter)))


def _letters_of(rng: Random) -> Drawn:
    word = rng.choice(WORDS)
    return Drawn(prompt=f'How many letters has the word "{word}"?', answer=str(len(word)))


def _nth_letter(rng: Random) -> Drawn:
    word, place = rng.choice(WORDS), rng.randrange(5)
    prompt = f'What is the {ORDINALS[place]} letter of "{word}"?'
    return Drawn(prompt=prompt, answer=word[place])


def _extract(rng: Random) -> Drawn:
    name, city, age = rng.choice(NAMES), rng.choice(CITIES), rng.randint(19, 78)
    colour, thing, price = rng.choice(COLOURS), rng.choice(THINGS), rng.randint(11, 95)
    told = f"{name}, {age}, of {city} sold a {colour} {thing} for {price} dollars."
    question, answer = rng.choice(
        (
            ("Where does the seller live?", city),
            ("What colour was it?", colour),
            ("How old is the seller?", str(age)),
            ("What was the price in dollars?", str(price)),
            ("What was sold?", thing),
        )
    )
    also = {
        str(price): (f"${price}", f"{price} dollars"),
        thing: (f"{colour} {thing}", f"a {colour} {thing}", f"a {thing}"),
        str(age): (f"{age} years old",),
    }
    return Drawn(prompt=f"{told} {question}", answer=answer, also=also.get(answer, ()))


def _month_days(rng: Random) -> Drawn:
    """One of a year's months, or two together: alone they would soon repeat."""
    first, second = rng.sample(range(12), 2)
    months = f"{MONTHS[first]} and {MONTHS[second]} together"
    answer = str(MONTH_DAYS[first] + MONTH_DAYS[second])
    if rng.random() < 0.2:
        months, answer = MONTHS[first], str(MONTH_DAYS[first])
    prompt = f"How many days do {months} have in a year that is not a leap year?"
    return Drawn(prompt=prompt, answer=answer, also=(f"{answer} days",))


def _weekday(rng: Random) -> Drawn:
    start, later = rng.randrange(7), rng.randint(1, 9)
    ends = "days" if later > 1 else "day"
    prompt = f"Today is {DAYS[start]}. Which day of the week is it in {later} {ends}?"
    return Drawn(prompt=prompt, answer=DAYS[(start + later) % 7])


def _units(rng: Random) -> Drawn:
    large, small, factor = rng.choice(UNITS)
    count = rng.randint(2, 12)
    if rng.random() < 0.6:
        answer, unit, prompt = count * factor, small, f"How many {small} are {count} {large}?"
    else:
        answer, unit, prompt = count, large, f"How many {large} are {count * factor} {small}?"
    return Drawn(prompt=prompt, answer=str(answer), also=(f"{answer} {unit}",))


def _capital(rng: Random) -> Drawn:
    country = rng.choice(tuple(CAPITALS))
    return Drawn(prompt=f"What is the capital of {country}?", answer=CAPITALS[country])


def _symbol(rng: Random) -> Drawn:
    element = rng.choice(tuple(SYMBOLS))
    return Drawn(prompt=f"What is the chemical symbol of {element}?", answer=SYMBOLS[element])


def _age(rng: Random) -> Drawn:
    born, age = rng.randint(1930, 2005), rng.randint(4, 60)
    name = rng.choice(NAMES)
    prompt = f"{name} was born in {born}. In which year did {name} turn {age}?"
    return Drawn(prompt=prompt, answer=str(born + age))


def _roman(rng: Random) -> Drawn:
    number = rng.randint(2, 89)
    tens = ("", "X", "XX", "XXX", "XL", "L", "LX", "LXX", "LXXX")[number // 10]
    ones = ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")[number % 10]
    if rng.random() < 0.5:
        prompt = f"Write the Roman numeral {tens}{ones} as a number in digits."
        return Drawn(prompt=prompt, answer=str(number))
    return Drawn(prompt=f"Write {number} as a Roman numeral.", answer=f"{tens}{ones}")


FAMILIES: dict[str, Family] = {
    "nth_word": _nth_word,
    "nth_from_end": _nth_from_end,
    "sort_words": _sort_words,
    "first_of": _first_of,
    "longest": _longest,
    "count_letter": _count_letter,
    "letters_of": _letters_of,
    "nth_letter": _nth_letter,
    "extract": _extract,
    "month_days": _month_days,
    "weekday": _weekday,
    "units": _units,
    "capital": _capital,
    "symbol": _symbol,
    "age": _age,
    "roman": _roman,
}
