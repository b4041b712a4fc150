"""Words in a row: the n-th, the sorted, the longest, how many."""

from __future__ import annotations

from random import Random

from bench.real.kinds.task import Facts, Kind, Task
from bench.real.mixes.drawn import WORDS

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh")


def _nth(rng: Random) -> Facts:
    words = rng.sample(WORDS, rng.randint(4, 7))
    index = rng.randrange(len(words))
    fields = {"words": ", ".join(words), "nth": ORDINALS[index]}
    return Facts(fields=fields, answers=(words[index],))


def _alphabet(rng: Random) -> Facts:
    words = rng.sample(WORDS, rng.randint(3, 6))
    is_first = rng.random() < 0.5
    answer = min(words) if is_first else max(words)
    fields = {"words": ", ".join(words), "end": "first" if is_first else "last"}
    return Facts(fields=fields, answers=(answer,))


def _sorted(rng: Random) -> Facts:
    words = rng.sample(WORDS, rng.randint(3, 4))
    ordered = sorted(words)
    answers = (", ".join(ordered), " ".join(ordered), "\n".join(ordered))
    return Facts(fields={"words": ", ".join(words)}, answers=answers)


def _count(rng: Random) -> Facts:
    words = [rng.choice(("apple", "bread", "cloud", "tiger")) for _ in range(rng.randint(5, 9))]
    word = rng.choice(sorted(set(words)))
    fields = {"words": ", ".join(words), "word": word}
    return Facts(fields=fields, answers=(str(words.count(word)),))


KIND: Kind = (
    Task(
        draw=_nth,
        wordings=(
            "What is the {nth} word? {words}",
            "List: {words}. Give the {nth} entry.",
            "Of the words {words}, which stands in the {nth} place?",
            "Name the {nth} of these words: {words}",
            "In the list [{words}], the {nth} item is?",
            "Reading from the left, what is the {nth} word of: {words}",
            "{words}. Pick out number {nth}.",
            "Which word is {nth} in this row: {words}?",
        ),
    ),
    Task(
        draw=_alphabet,
        wordings=(
            "Which word comes {end} in the alphabet: {words}?",
            "Of {words}, name the one that is {end} in alphabetical order.",
            "If {words} are sorted from A to Z, which is {end}?",
            "Alphabetically {end} among these: {words}",
            "A dictionary holds {words}. Which entry stands {end}?",
            "Sort in your head: {words}. State the {end} word.",
            "Which one would be {end} in an index: {words}?",
            "Words: {words}. Say the {end} of them by alphabet.",
        ),
    ),
    Task(
        draw=_sorted,
        wordings=(
            "Sort these words alphabetically: {words}",
            "Put in alphabetical order: {words}",
            "Arrange {words} from A to Z.",
            "Write the words {words} in the order of a dictionary.",
            "Alphabetise this list: {words}",
            "What is the list [{words}] when sorted?",
            "Give {words} in ascending alphabetical order, separated by commas.",
            "Order the following by the alphabet: {words}.",
        ),
    ),
    Task(
        draw=_count,
        wordings=(
            'How many times does "{word}" occur in: {words}?',
            'Count the word "{word}" in this list: {words}',
            'In {words}, how often is "{word}" named?',
            'List: {words}. Number of entries equal to "{word}"?',
            'How many of these are "{word}"? {words}',
            '"{word}" appears how many times here: {words}?',
            'Tell the number of times that "{word}" is found in the row {words}.',
            'Given {words}, what is the count of "{word}"?',
        ),
    ),
)
