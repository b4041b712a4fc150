"""A short record in prose, and one of its fields is asked for."""

from __future__ import annotations

from random import Random

from bench.real.kinds.task import Facts, Kind, Task
from bench.real.kinds.word_problems import NAMES

CITIES = (
    "Oslo", "Lima", "Cairo", "Delhi", "Paris", "Tokyo", "Quito", "Milan", "Perth", "Boston",
    "Geneva", "Dublin", "Havana", "Porto", "Hanoi", "Tunis",
)  # fmt: skip
COLOURS = ("red", "blue", "green", "white", "black", "grey", "brown", "yellow")
GOODS = ("bike", "car", "coat", "hat", "boat", "lamp", "bag", "desk", "piano", "tent")


def _deal(rng: Random) -> Facts:
    seller, buyer = rng.sample(NAMES, 2)
    home, away = rng.sample(CITIES, 2)
    colour, good = rng.choice(COLOURS), rng.choice(GOODS)
    first, second = rng.sample(range(11, 95), 2)
    price, weekday = f"{rng.randint(12, 980)}", rng.choice(("Monday", "Friday", "Sunday"))
    detail, answers = rng.choice(
        (
            ("the city of the seller", (home,)),
            ("the city of the buyer", (away,)),
            ("the age of the buyer", (str(second),)),
            ("the age of the seller", (str(first),)),
            ("the price in dollars", (price,)),
            ("the colour of the thing sold", (colour, f"{colour} {good}")),
            ("the name of the buyer", (buyer,)),
            ("the day of the sale", (weekday,)),
        )
    )
    fields = {
        "seller": seller, "buyer": buyer, "home": home, "away": away, "colour": colour,
        "good": good, "first": first, "second": second, "price": price, "day": weekday,
        "asked": detail, "Asked": detail.capitalize(),
    }  # fmt: skip
    return Facts(fields=fields, answers=answers)


_TOLD = "{seller}, {first}, of {home} sold a {colour} {good} to {buyer}, {second}, of {away}"

KIND: Kind = (
    Task(
        draw=_deal,
        wordings=(
            _TOLD + " for {price} dollars on {day}. What is {asked}?",
            "On {day} {buyer} ({second}, {away}) bought a {colour} {good} from {seller} ({first}, "
            "{home}) for ${price}. Give {asked}.",
            "Read: '{day}: {seller} from {home}, aged {first}, hands a {colour} {good} to {buyer} "
            "from {away}, aged {second}; {price} dollars paid.' Find {asked}.",
            "Seller: {seller}, {first}, {home}. Buyer: {buyer}, {second}, {away}. Item: {colour} "
            "{good}. Price: {price} dollars. Day: {day}. State {asked}.",
            "{buyer} lives in {away} and is {second}. {seller} lives in {home} and is {first}. "
            "On {day} {buyer} paid {seller} {price} dollars for a {colour} {good}. "
            "{Asked} is what?",
            "From the note below, extract {asked}.\nSold {day}: {colour} {good}, {price} dollars. "
            "{seller} ({home}, {first} years) to {buyer} ({away}, {second} years).",
            "{Asked}? Text: for {price} dollars, {buyer} of {away}, {second} years old, became on "
            "{day} the owner of a {colour} {good} that {first}-year-old {seller} of {home} sold.",
            'JSON: {{"day": "{day}", "item": "{colour} {good}", "price": {price}, "seller": '
            '["{seller}", {first}, "{home}"], "buyer": ["{buyer}", {second}, "{away}"]}}. '
            "Return {asked}.",
        ),
    ),
)
