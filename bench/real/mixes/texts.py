"""Families of questions on words, sentences and everyday facts."""

from __future__ import annotations

from random import Random

from bench.real.mixes.drawn import WORDS, Drawn, Family

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
OPPOSITES = {
    "hot": "cold", "up": "down", "left": "right", "fast": "slow", "high": "low", "day": "night",
    "black": "white", "wet": "dry", "rich": "poor", "early": "late", "full": "empty",
    "strong": "weak", "true": "false", "near": "far", "clean": "dirty", "north": "south",
    "east": "west", "win": "lose", "buy": "sell", "love": "hate", "push": "pull", "yes": "no",
    "young": "old", "thick": "thin", "first": "last", "alive": "dead", "tall": "short",
    "above": "below", "inside": "outside", "before": "after",
}  # fmt: skip
TENS = (
    "", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"
)  # fmt: skip
ONES = (
    "", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
NAMES = ("Anna", "Boris", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Irene", "Jonas")
CITIES = ("Oslo", "Lima", "Cairo", "Delhi", "Paris", "Tokyo", "Quito", "Milan", "Perth", "Boston")
COLOURS = ("red", "blue", "green", "white", "black", "grey", "brown", "yellow")
THINGS = ("bike", "car", "coat", "hat", "boat", "lamp", "bag", "desk")


def number_in_words(number: int) -> str:
    """Of a number from 1 to 99."""
    if number < len(ONES):
        return ONES[number]
    tens, ones = divmod(number, 10)
    return f"{TENS[tens]}-{ONES[ones]}" if ones else TENS[tens]


def _nth_word(rng: Random) -> Drawn:
    words = rng.sample(WORDS, rng.randint(4, 6))
    index = rng.randrange(4)
    prompt = f"What is the {ORDINALS[index]} word? {' '.join(words)}"
    return Drawn(prompt=prompt, answer=words[index])


def _nth_from_end(rng: Random) -> Drawn:
    words = rng.sample(WORDS, rng.randint(3, 6))
    index, name = rng.choice(((1, "last"), (2, "second to last"), (3, "third to last")))
    return Drawn(prompt=f"What is the {name} word? {' '.join(words)}", answer=words[-index])


def _sort_words(rng: Random) -> Drawn:
    words = rng.sample(WORDS, 3)
    prompt = f"Sort these words alphabetically: {', '.join(words)}"
    return Drawn(prompt=prompt, answer=", ".join(sorted(words)), also=(" ".join(sorted(words)),))


def _first_of(rng: Random) -> Drawn:
    words = rng.sample(WORDS, rng.randint(2, 3))
    prompt = f"Which word comes first in the alphabet: {', '.join(words)}?"
    return Drawn(prompt=prompt, answer=min(words))


def _longest(rng: Random) -> Drawn:
    words = rng.sample(WORDS, 3)
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
    word, index = rng.choice(WORDS), rng.randrange(5)
    prompt = f'What is the {ORDINALS[index]} letter of "{word}"?'
    return Drawn(prompt=prompt, answer=word[index])


def _extract(rng: Random) -> Drawn:
    name, city, age = rng.choice(NAMES), rng.choice(CITIES), rng.randint(19, 78)
    colour, thing, price = rng.choice(COLOURS), rng.choice(THINGS), rng.randint(11, 95)
    statement = f"{name}, {age}, of {city} sold a {colour} {thing} for {price} dollars."
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
    return Drawn(prompt=f"{statement} {question}", answer=answer, also=also.get(answer, ()))


def _month_days(rng: Random) -> Drawn:
    month = rng.randrange(12)
    answer = str(MONTH_DAYS[month])
    year = rng.choice((2021, 2022, 2023, 2025, 2026))  # February has 28 days in each
    prompt = f"How many days has {MONTHS[month]} {year}?"
    return Drawn(prompt=prompt, answer=answer, also=(f"{answer} days",))


def _weekday(rng: Random) -> Drawn:
    start, later = rng.randrange(7), rng.randint(1, 7)
    ends = "days" if later > 1 else "day"
    prompt = f"Today is {DAYS[start]}. Which day of the week is it in {later} {ends}?"
    return Drawn(prompt=prompt, answer=DAYS[(start + later) % 7])


def _units(rng: Random) -> Drawn:
    large, small, factor = rng.choice(UNITS)
    count = rng.randint(2, 10)
    if rng.random() < 0.8:
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


def _opposite(rng: Random) -> Drawn:
    word = rng.choice(tuple(OPPOSITES))
    return Drawn(prompt=f'What is the opposite of "{word}"?', answer=OPPOSITES[word])


def _number_word(rng: Random) -> Drawn:
    number = rng.randint(11, 99)
    prompt = f"Write {number_in_words(number)} in digits."
    return Drawn(prompt=prompt, answer=str(number))


def _next(rng: Random) -> Drawn:
    names = rng.choice((DAYS, MONTHS, MONTHS))
    index, step, word = rng.randrange(len(names)), *rng.choice(((1, "after"), (-1, "before")))
    kind = "day" if names is DAYS else "month"
    prompt = f"Which {kind} comes right {word} {names[index]}?"
    return Drawn(prompt=prompt, answer=names[(index + step) % len(names)])


def _roman(rng: Random) -> Drawn:
    number = rng.randint(2, 39)
    tens = "X" * (number // 10)
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
    "opposite": _opposite,
    "number_word": _number_word,
    "next": _next,
    "roman": _roman,
}
