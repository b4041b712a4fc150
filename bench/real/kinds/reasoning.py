"""Questions that take several steps; models write the steps first."""

from __future__ import annotations

from contextlib import redirect_stdout
from datetime import datetime, timedelta
from io import StringIO
from itertools import pairwise
from random import Random

from bench.real.kinds.task import Facts, Kind, Task
from bench.real.kinds.word_problems import NAMES, THINGS


def _shopping(rng: Random) -> Facts:
    first, second = rng.randint(2, 5), rng.randint(2, 5)
    price, dearer = rng.randint(2, 9), rng.randint(5, 12)
    percent = rng.choice((10, 20, 50))
    total = first * price + second * dearer
    if total * (100 - percent) % 100:
        # The price after the discount is to be whole.
        return _shopping(rng)
    thing, other = rng.sample(THINGS, 2)
    fields = {
        "name": rng.choice(NAMES), "one": thing, "other": other, "first": first, "second": second,
        "price": price, "dearer": dearer, "percent": percent,
    }  # fmt: skip
    return Facts(fields=fields, answers=(str(total * (100 - percent) // 100),))


def _saving(rng: Random) -> Facts:
    weekly, weeks = rng.randint(5, 20), rng.randint(2, 6)
    gift, spent = rng.randint(10, 50), rng.randint(2, 9)
    total = weekly * weeks + gift - spent
    fields = {
        "name": rng.choice(NAMES), "weekly": weekly, "weeks": weeks, "gift": gift, "spent": spent,
    }  # fmt: skip
    return Facts(fields=fields, answers=(str(total),))


def _schedule(rng: Random) -> Facts:
    start = datetime(2024, 1, 1, rng.randint(7, 11), 5 * rng.randrange(12))
    ride, pause, walk = (5 * rng.randint(1, 6) for _ in range(3))
    end = start + timedelta(minutes=ride + pause + walk)
    fields = {
        "name": rng.choice(NAMES), "start": f"{start:%H:%M}",
        "ride": ride, "pause": pause, "walk": walk,
    }  # fmt: skip
    return Facts(fields=fields, answers=(f"{end:%H:%M}", f"{end.hour}:{end:%M}"))


def _order(rng: Random) -> Facts:
    people = rng.sample(NAMES, 4)
    relation, extreme = rng.choice((("older", "oldest"), ("taller", "tallest")))
    statements = [f"{high} is {relation} than {low}." for high, low in pairwise(people)]
    rng.shuffle(statements)
    index, rank = rng.choice(((0, extreme), (1, f"second {extreme}")))
    fields = {"statements": " ".join(statements), "asked": rank}
    return Facts(fields=fields, answers=(people[index],))


def _trace(rng: Random) -> Facts:
    numbers = [rng.randint(1, 9) for _ in range(rng.randint(3, 4))]
    start, limit = rng.randint(0, 5), rng.randint(3, 8)
    code = rng.choice(
        (
            f"t = {start}\nfor n in {numbers}:\n    if n > {limit}:\n        t += n\n    else:\n"
            "        t -= 1\nprint(t)",
            f"t = {start}\nfor i, n in enumerate({numbers}):\n    t += i * n\nprint(t)",
            f"a, b = {start}, {limit}\nfor _ in range({len(numbers)}):\n    a, b = b, a + b\n"
            "print(a)",
            f"k = 0\nfor n in {numbers}:\n    if n % 2 == {start % 2}:\n        k += n\nprint(k)",
        )
    )
    printed = StringIO()
    with redirect_stdout(printed):
        # The text is made here, out of numbers.
        exec(code, {})
    return Facts(fields={"code": code}, answers=(printed.getvalue().strip(),))


KINDS: dict[str, Kind] = {
    "shopping": (
        Task(
            draw=_shopping,
            wordings=(
                "{name} buys {first} {one} at {price} dollars each and {second} {other} at "
                "{dearer} dollars each, with a discount of {percent}% on everything. "
                "How many dollars does {name} pay?",
                "{one} cost {price} dollars each, {other} {dearer} dollars each. What do {first} "
                "{one} and {second} {other} cost in dollars after {percent}% off?",
                "A basket holds {first} {one} ({price} dollars apiece) and {second} {other} "
                "({dearer} dollars apiece). A coupon takes off {percent}%. What is due?",
                "What does {name} spend on {first} {one} for {price} dollars each plus {second} "
                "{other} for {dearer} dollars each when the till takes {percent}% off the sum?",
                "In a sale all prices fall by {percent}%. {name} takes {first} {one}, before "
                "{price} dollars each, and {second} {other}, before {dearer} dollars each. "
                "Find the new total in dollars.",
                "Work out the bill: {first} times {price} dollars ({one}), {second} times "
                "{dearer} dollars ({other}), less {percent} percent.",
                "{name} has a card that saves {percent}%. How many dollars leave the account for "
                "{second} {other} of {dearer} dollars and {first} {one} of {price} dollars?",
                "Each of {first} {one} is {price} dollars and each of {second} {other} is "
                "{dearer} dollars. The shop reduces the whole by {percent}%. Total in dollars?",
            ),
        ),
    ),
    "saving": (
        Task(
            draw=_saving,
            wordings=(
                "{name} saves {weekly} dollars a week for {weeks} weeks, gets {gift} dollars as a "
                "gift and then spends {spent} dollars. How many dollars does {name} have?",
                "For {weeks} weeks {name} puts away {weekly} dollars each week. An aunt adds {gift}"
                " dollars; a repair costs {spent}. What amount is left?",
                "After {weeks} weekly payments of {weekly} dollars, a bonus of {gift} dollars and "
                "a bill of {spent} dollars, what stands in {name}'s account, empty at first?",
                "How much money has {name} in the end: {weekly} dollars earned in each of {weeks} "
                "weeks, {gift} dollars found, {spent} dollars lost?",
                "{name}'s jar is empty. {weeks} times, {weekly} dollars go in. Then {gift} dollars "
                "go in and {spent} dollars come out. How many dollars does the jar hold?",
                "Pay is {weekly} dollars a week. {name} works {weeks} weeks, is given {gift} "
                "dollars more and buys a bag for {spent} dollars. State what remains.",
                "A club takes in {weekly} dollars a week over {weeks} weeks and a donation of "
                "{gift} dollars. It pays {spent} dollars of rent. What does it own in dollars?",
                "Find {name}'s balance: a gift of {gift} dollars, a purchase of {spent} dollars, "
                "and {weeks} weeks at {weekly} dollars.",
            ),
        ),
    ),
    "schedule": (
        Task(
            draw=_schedule,
            wordings=(
                "{name} leaves at {start}, rides for {ride} minutes, waits {pause} minutes and "
                "walks {walk} minutes. At what time (HH:MM) does {name} arrive?",
                "A trip begins at {start}: {ride} minutes by bus, {pause} minutes of waiting, "
                "{walk} minutes on foot. When is it over, as HH:MM?",
                "At {start} {name} starts a film of {ride} minutes, then naps {pause} minutes, "
                "then reads {walk} minutes. What time is it then (24-hour)?",
                "Three lessons of {ride}, {pause} and {walk} minutes follow each other from "
                "{start} on. Give the time of the end as HH:MM.",
                "Dough rests {ride} minutes, bakes {pause} minutes and cools {walk} minutes. "
                "{name} starts at {start}. When is the bread ready (HH:MM)?",
                "The clock says {start}. It runs on by {ride} minutes, by {pause} minutes and by "
                "{walk} minutes. What does it say?",
                "{name} is at work from {start}: a call of {ride} minutes, mail for {pause} "
                "minutes, a meeting of {walk} minutes. When does the meeting end (HH:MM)?",
                "Add {ride}, {pause} and {walk} minutes to {start}; answer in 24-hour time.",
            ),
        ),
    ),
    "order": (
        Task(
            draw=_order,
            wordings=(
                "{statements} Who is the {asked}?",
                "We know this: {statements} Name the {asked} person.",
                "Given that: {statements} Which of them is the {asked}?",
                "Four people are compared. {statements} Who among them is the {asked}?",
                "Find the {asked} of the four. {statements}",
                "From the facts, say who is {asked}. Facts: {statements}",
                "{statements} If all stand in a row by this, who is the {asked}?",
                "A riddle: {statements} The {asked} is whom?",
            ),
        ),
    ),
    "trace": (
        Task(
            draw=_trace,
            wordings=(
                "What does this program print?\n{code}",
                "Give the output of this Python code:\n```python\n{code}\n```",
                "Follow the program line by line. What is its output?\n{code}",
                "```python\n{code}\n```\nWhich number is printed?",
                "The file main.py contains:\n{code}\nWhat is written to the terminal?",
                "Which number does Python 3 show here?\n{code}",
                "Trace the program and give what it prints.\n```\n{code}\n```",
                "I ran the code below. What did I see?\n{code}",
            ),
        ),
    ),
}
