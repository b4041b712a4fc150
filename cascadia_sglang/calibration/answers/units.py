"""Units as answers write them, each with its dimension and its size in one unit of that dimension.

A prefix is part of a unit's name. Temperatures, and multiples of a byte, are dimensions of their
own: nothing converts them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit.

    Attributes:
        dimension: a name, with powers and a divisor, such as `length^2` or `length/time`.
        size: in the dimension's own unit.
    """

    dimension: str
    size: Fraction


# By dimension: what one of these units is in the dimension's own, and its names.
_TABLE: Mapping[str, tuple[tuple[str, str], ...]] = {
    "length": (
        ("1", "m meter meters metre metres"),
        ("1000", "km Km kilometer kilometers kilometre kilometres"),
        ("1/100", "cm centimeter centimeters centimetre centimetres"),
        ("1/1000", "mm millimeter millimeters millimetre millimetres"),
        ("0.0254", "in inch inches"),
        ("0.3048", "ft foot feet"),
        ("0.9144", "yd yard yards"),
        ("1609.344", "mi mile miles"),
    ),
    "mass": (
        ("1", "g gram grams gramme grammes"),
        ("1000", "kg Kg kilo kilos kilogram kilograms kilogramme kilogrammes"),
        ("1/1000", "mg milligram milligrams"),
        ("1000000", "tonne tonnes"),
        ("453.59237", "lb lbs pound pounds"),
        ("28.349523125", "oz ounce ounces"),
    ),
    "time": (
        ("1", "s sec secs second seconds"),
        ("1/1000", "ms millisecond milliseconds"),
        ("60", "min mins minute minutes"),
        ("3600", "h hr hrs hour hours"),
        ("86400", "day days"),
        ("604800", "week weeks"),
    ),
    "months": (("1", "month months"), ("12", "yr yrs year years"), ("120", "decade decades"),
               ("1200", "century centuries")),
    "length^3": (
        ("1/1000", "L l liter liters litre litres"),
        ("1/1000000", "ml mL milliliter milliliters millilitre millilitres cc"),
        ("1/100000", "cl centiliter centiliters centilitre centilitres"),
        ("0.003785411784", "gallon gallons gal"),
    ),
    "length^2": (("10000", "ha hectare hectares"), ("4046.8564224", "acre acres")),
    "length/time": (("0.44704", "mph"), ("5/18", "kmh kph"), ("1852/3600", "knot knots")),
    "share": (("1/100", "% percent"), ("1/1000", "‰ permille")),
    "angle": (("1", "° degree degrees deg"),),
    "celsius": (("1", "°C °_C celsius degrees_celsius degree_celsius degrees_C"),),
    "fahrenheit": (("1", "°F °_F fahrenheit degrees_fahrenheit degree_fahrenheit degrees_F"),),
    "kelvin": (("1", "kelvin kelvins"),),
    "dollars": (("1", "$ USD usd dollar dollars"), ("1/100", "¢ cent cents")),
    "euros": (("1", "€ EUR eur euro euros"),),
    "pounds sterling": (("1", "£ GBP gbp pounds_sterling"),),
    "yen": (("1", "¥ JPY jpy yen"),),
    "energy": (("1", "J joule joules"), ("1000", "kJ kilojoule kilojoules"), ("3600000", "kWh")),
    "power": (("1", "W watt watts"), ("1000", "kW kilowatt kilowatts")),
    "frequency": (("1", "Hz hertz"), ("1000", "kHz"), ("1000000", "MHz"), ("1000000000", "GHz")),
    "force": (("1", "N newton newtons"),),
    "voltage": (("1", "V volt volts"),),
    **{name: (("1", names),) for name, names in (
        ("bytes", "byte bytes"), ("kilobytes", "kB KB kilobyte kilobytes"),
        ("megabytes", "MB megabyte megabytes"), ("gigabytes", "GB gigabyte gigabytes"),
        ("terabytes", "TB terabyte terabytes"),
    )},
}  # fmt: skip
_UNITS = {
    name.replace("_", " "): Unit(dimension, Fraction(size))
    for dimension, units in _TABLE.items()
    for size, names in units
    for name in names.split()
}
_LOWER = {name.lower(): name for name in _UNITS}


def _pattern(names: Iterable[str]) -> str:
    """Of any of these names, the longest first; words of more than three letters in any case."""
    patterns = []
    for name in sorted(names, key=len, reverse=True):
        text = r"\s+".join(map(re.escape, name.split()))
        text = f"(?i:{text})" if len(name) > 3 else text
        patterns.append(text + r"(?![A-Za-z])" if name[-1].isalpha() else text)
    return "|".join(patterns)


_NAME = _pattern(_UNITS)
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_AFTER = re.compile(
    rf"(?P<gap>[ \t]*-?)(?:(?P<power>(?i:square|sq|cubic|cu))\.?\s+)?(?P<name>{_NAME})"
    rf"(?:\^?(?P<exponent>[23])(?![\d.,/]))?"
    rf"(?:(?:\s*/\s*|\s+(?i:per)\s+)(?P<under>{_NAME})(?:\^?(?P<under_exponent>[23])(?![\d.,/]))?)?"
)
_BEFORE = re.compile(r"(\$|€|£|¥|\b(?:USD|EUR|GBP|JPY))[ \t]*$")
_WORD_FOLLOWS = re.compile(r"[ \t]+\w")


def unit_before(text: str, end: int) -> tuple[Unit, int] | None:
    """The currency that stands right before `end`, and where it begins; None where none does."""
    match = _BEFORE.search(text, max(0, end - 8), end)
    return None if match is None else (_UNITS[match[1]], match.start())


def unit_after(text: str, start: int) -> tuple[Unit, int] | None:
    """The unit that a number ending at `start` has, and where it ends; None where it has none."""
    match = _AFTER.match(text, start)
    if match is None:
        return None
    # A preposition far more often than inches.
    if match["name"] == "in" and match["gap"] and _WORD_FOLLOWS.match(text, match.end()):
        return None
    unit = _raised(_unit(match["name"]), match["exponent"] or _power(match["power"]))
    if unit is not None and match["under"]:
        unit = _divided(unit, _raised(_unit(match["under"]), match["under_exponent"]))
    return None if unit is None else (unit, match.end())


def _unit(name: str) -> Unit:
    plain = " ".join(name.split())
    return _UNITS[plain] if plain in _UNITS else _UNITS[_LOWER[plain.lower()]]


def _power(word: str | None) -> int:
    return 1 if word is None else _POWERS[word.lower()]


def _raised(unit: Unit, exponent: str | int | None) -> Unit | None:
    """None where it has a power already."""
    power = int(exponent or 1)
    if power == 1:
        return unit
    if "^" in unit.dimension or "/" in unit.dimension:
        return None
    return Unit(f"{unit.dimension}^{power}", unit.size**power)


def _divided(unit: Unit, under: Unit | None) -> Unit | None:
    if under is None or "/" in unit.dimension + under.dimension:
        return None
    return Unit(f"{unit.dimension}/{under.dimension}", unit.size / under.size)
