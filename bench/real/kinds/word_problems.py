"""Short word problems: one or two steps with whole numbers."""

from __future__ import annotations

from random import Random

from bench.real.kinds.task import Facts, Kind, Task

NAMES = (
    "Anna", "Boris", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Irene", "Jonas",
    "Karin", "Louis", "Maria", "Nadia", "Oscar", "Paula", "Rosa", "Simon", "Tina", "Victor",
)  # fmt: skip
THINGS = (
    "apples", "books", "cards", "coins", "eggs", "flowers", "marbles", "pencils", "shells",
    "stamps", "stickers", "tickets",
)  # fmt: skip


def _stock(rng: Random) -> Facts:
    had, more = rng.randint(3, 24), rng.randint(1, 12)
    less = rng.randint(1, min(9, had + more - 1))
    fields = {
        "name": rng.choice(NAMES),
        "things": rng.choice(THINGS),
        "had": had,
        "more": more,
        "less": less,
    }
    return Facts(fields=fields, answers=(str(had + more - less),))


def _change(rng: Random) -> Facts:
    count, price = rng.randint(2, 6), rng.randint(2, 8)
    paid = next(note for note in (10, 20, 50) if note >= count * price)
    fields = {
        "name": rng.choice(NAMES),
        "things": rng.choice(THINGS),
        "count": count,
        "price": price,
        "paid": paid,
    }
    return Facts(fields=fields, answers=(str(paid - count * price),))


def _packing(rng: Random) -> Facts:
    size, full = rng.randint(2, 6), rng.randint(2, 6)
    remaining = rng.randrange(size)
    fields = {
        "name": rng.choice(NAMES),
        "things": rng.choice(THINGS),
        "size": size,
        "total": size * full + remaining,
    }
    return Facts(fields=fields, answers=(str(remaining),))


KIND: Kind = (
    Task(
        draw=_stock,
        wordings=(
            "{name} has {had} {things}, buys {more} more and gives {less} away. How many are left?",
            "{name} starts with {had} {things}. {name} gets {more} and loses {less}. "
            "How many {things} does {name} have now?",
            "There were {had} {things} in a box. {name} put in {more} and then took out {less}. "
            "How many are in the box?",
            "How many {things} does {name} own after buying {more} and selling {less}, "
            "if there were {had} at first?",
            "First {had} {things}, then {more} more, then {less} fewer: how many does {name} hold?",
            "{name} counted {had} {things} on Monday. On Tuesday {more} came, on Wednesday "
            "{less} went. What is the count on Thursday?",
            "A shop has {had} {things}. A delivery brings {more}. {name} buys {less} of them. "
            "What remains in the shop?",
            "Out of {had} {things} and another {more}, {name} uses {less}. What number is unused?",
        ),
    ),
    Task(
        draw=_change,
        wordings=(
            "{name} buys {count} {things} at {price} dollars each and pays with {paid} dollars. "
            "How many dollars of change are due?",
            "{things} cost {price} dollars apiece. {name} takes {count} and hands over {paid} "
            "dollars. What is the change in dollars?",
            "What is left of {paid} dollars after {count} purchases of {price} dollars each?",
            "{name} had {paid} dollars and bought {count} {things} for {price} dollars each. "
            "How many dollars does {name} have left?",
            "The price is {price} dollars for one of the {things}; {name} wants {count}. How much "
            "comes back from {paid} dollars?",
            "From {paid} dollars, {name} pays for {count} {things} ({price} dollars each). "
            "State the remaining dollars.",
            "If {count} {things} are bought at {price} dollars each, how many of {name}'s {paid} "
            "dollars stay in the purse?",
            "{name} spends {price} dollars {count} times. There were {paid} dollars. "
            "How many are there now?",
        ),
    ),
    Task(
        draw=_packing,
        wordings=(
            "{name} packs {total} {things} into boxes of {size}. How many are left over?",
            "A box holds {size} {things}. {name} fills as many boxes as possible from {total}. "
            "How many {things} do not fit into a full box?",
            "{total} {things} are put in groups of {size}. How many remain outside full groups?",
            "How many of {total} {things} are left when {name} makes bundles of {size}?",
            "{name} shares {total} {things} equally among {size} children and keeps the rest. "
            "How many does {name} keep?",
            "With {total} {things} in rows of {size}, how many stand in the row that is not full? "
            "Say 0 if all rows are full.",
            "Bags take {size} {things} each. Of {total}, how many stay without a full bag?",
            "{name} hands out {total} {things} to {size} friends, the same number to each. "
            "What is the smallest number that can be left?",
        ),
    ),
)
