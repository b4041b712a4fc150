"""Days of the week, dates some days on, and times of the day."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from random import Random

from bench.real.kinds.task import Facts, Kind, Task

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def _weekday(rng: Random) -> Facts:
    start, later = rng.randrange(7), rng.randint(2, 8)
    fields = {"day": DAYS[start], "later": later}
    return Facts(fields=fields, answers=(DAYS[(start + later) % 7],))


def _date(rng: Random) -> Facts:
    first = date(rng.randint(2019, 2027), 1, 1) + timedelta(rng.randrange(365))
    later = rng.randint(2, 20)
    answer = first + timedelta(later)
    written = f"{answer:%B} {answer.day}"
    return Facts(
        fields={"date": f"{first:%B} {first.day}, {first.year}", "later": later},
        answers=(
            written,
            f"{written}, {answer.year}",
            f"{answer.day} {answer:%B}",
            f"{answer.day} {answer:%B} {answer.year}",
            answer.isoformat(),
        ),
    )


def _clock(rng: Random) -> Facts:
    start = datetime(2024, 1, 1, rng.randint(6, 17), 5 * rng.randrange(12))
    minutes = 5 * rng.randint(1, 15)
    end = start + timedelta(minutes=minutes)
    return Facts(
        fields={"start": f"{start:%H:%M}", "minutes": minutes},
        answers=(f"{end:%H:%M}", f"{end.hour}:{end:%M}"),
    )


KIND: Kind = (
    Task(
        draw=_weekday,
        wordings=(
            "Today is {day}. Which day of the week is it in {later} days?",
            "What weekday comes {later} days after a {day}?",
            "If a course begins on a {day}, on which weekday is it {later} days later?",
            "Count {later} days on from {day}. Which weekday do you reach?",
            "A parcel is sent on {day} and takes {later} days. Name the weekday of its arrival.",
            "It is {day} now; {later} days from now it will be which day?",
            "{day} plus {later} days is which day of the week?",
            "Starting at {day}, what day of the week is it after {later} days have passed?",
        ),
    ),
    Task(
        draw=_date,
        wordings=(
            "Which date is {later} days after {date}? Answer with month and day.",
            "Today is {date}. Give month and day of the date {later} days from now.",
            "Add {later} days to {date}. State the month and the day.",
            "A bill of {date} is due in {later} days. When is it due (month, day)?",
            "{date} + {later} days = ? (month and day)",
            "What will the month and day be when {later} days have gone by since {date}?",
            "A trip starts on {date}. Its end is {later} days later. On which month and day?",
            "Counting on {later} days from {date} leads to which month and day?",
        ),
    ),
    Task(
        draw=_clock,
        wordings=(
            "It is {start}. What time is it {minutes} minutes later? Use 24-hour time.",
            "A film starts at {start} and lasts {minutes} minutes. When does it end (HH:MM)?",
            "Add {minutes} minutes to {start}. Give the time as HH:MM.",
            "A train leaves at {start}. The ride takes {minutes} minutes. Arrival (24-hour)?",
            "{start} plus {minutes} minutes is what time, in 24-hour form?",
            "The clock shows {start}. What does it show when {minutes} minutes have passed?",
            "An exam of {minutes} minutes begins at {start}. Say as HH:MM when it is over.",
            "Bread goes into the oven at {start} for {minutes} minutes. When is it taken out?",
        ),
    ),
)
