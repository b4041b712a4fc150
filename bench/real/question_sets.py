"""The question sets for real models, made from a seed: short answers, reasoning, code, prose.

- `short`: 2,400 generated questions of eight kinds; an answer has at most 32 tokens.
- `reasoning`: 600 generated questions of five kinds; the model writes its steps first, 160 tokens
  at most.
- `humaneval`: the 164 problems of HumanEval (arXiv 2107.03374), 200 tokens at most.
- `free`: 150 questions without a known answer, 96 tokens at most.

Of the generated sets, the part `test` uses wordings that no other part uses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from random import Random

from bench.real.humaneval import problems as humaneval
from bench.real.kinds import (
    code,
    comparisons,
    dates,
    extraction,
    knowledge,
    lists,
    reasoning,
    units,
    word_problems,
)
from bench.real.kinds.task import Kind
from bench.real.questions import PREFIX, instruction_and_examples

SHORT: dict[str, Kind] = {
    "word problems": word_problems.KIND,
    "code output": code.KIND,
    "extraction": extraction.KIND,
    "dates": dates.KIND,
    "units": units.KIND,
    "lists": lists.KIND,
    "comparisons": comparisons.KIND,
    "knowledge": knowledge.KIND,
}
REASONING: dict[str, Kind] = reasoning.KINDS
SETS = ("short", "reasoning", "humaneval", "free")
MAX_TOKENS = {"short": 32, "reasoning": 160, "humaneval": humaneval.MAX_TOKENS, "free": 96}
SIZES = {"short": 2_400, "reasoning": 600, "humaneval": 164, "free": 150}
SEED = 28

# Wordings of these numbers are asked in the part `test` alone.
TEST_WORDINGS = (3, 6)
TEST_SHARE = 1 / 3
# The shares of the other questions.
PARTS = (("fit", 0.6), ("choose", 0.15), ("certify", 0.25))

_REASONING_INSTRUCTION = "Work in short steps, one line each. End with the line: The answer is X."
# Without examples, small models write one line, or many that the limit of tokens cuts.
_REASONING_EXAMPLES = (
    (
        "Mia has 3 boxes of 8 apples and gives away 5 apples. How many apples are left?",
        "3 boxes hold 3 * 8 = 24 apples.\nAfter giving away 5, 24 - 5 = 19 are left.\n"
        "The answer is 19.",
    ),
    (
        "Tom starts at 08:50 and cycles 35 minutes. When does he arrive (HH:MM)?",
        "08:50 plus 10 minutes is 09:00.\n35 - 10 = 25 minutes remain.\n"
        "09:00 plus 25 minutes is 09:25.\nThe answer is 09:25.",
    ),
    (
        "Lena is taller than Max. Max is taller than Ida. Who is the tallest?",
        "Lena is taller than Max, so the order begins with Lena, Max.\n"
        "Max is taller than Ida, so it is Lena, Max, Ida.\nThe first is Lena.\n"
        "The answer is Lena.",
    ),
    (
        "2 pens cost 3 dollars each and 4 books cost 6 dollars each, with 50% off everything. "
        "What is the total in dollars?",
        "2 pens cost 2 * 3 = 6 dollars.\n4 books cost 4 * 6 = 24 dollars.\n"
        "Together they cost 6 + 24 = 30 dollars.\n50% of 30 is 15, so 30 - 15 = 15 dollars.\n"
        "The answer is 15.",
    ),
    (
        "What does this program print?\nt = 1\nfor n in [4, 7]:\n    t += 2 * n\nprint(t)",
        "At first t = 1.\nFor n = 4, t = 1 + 8 = 9.\nFor n = 7, t = 9 + 14 = 23.\n"
        "The answer is 23.",
    ),
)
_REASONING_PREFIX = instruction_and_examples(_REASONING_INSTRUCTION, _REASONING_EXAMPLES)
_FREE_FILE = Path(__file__).parent / "free_questions.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question.

    Attributes:
        id: set, number and a digest of the chat, so that answers to other chats never match.
        kind: of its set; a set without kinds has its own name here.
        part: `fit`, `choose`, `certify` or `test`.
        messages: the chat.
        max_tokens: of an answer.
        answers: each is right; empty where another check decides, or nobody knows.
    """

    id: str
    set: str
    kind: str
    part: str
    messages: tuple[Mapping[str, str], ...]
    max_tokens: int
    answers: tuple[str, ...] = ()


def question_set(name: str, size: int | None = None) -> list[Question]:
    """The questions of a set; the same arguments always give the same ones.

    Args:
        name: one of `SETS`.
        size: how many; None for all of `SIZES`.
    """
    count = SIZES[name] if size is None else min(size, SIZES[name])
    if name == "short":
        return list(_generated(name, SHORT, PREFIX, count))
    if name == "reasoning":
        return list(_generated(name, REASONING, _REASONING_PREFIX, count))
    if name == "humaneval":
        problems = humaneval.problems()[:count]
        chats = [(problem.number, humaneval.chat(problem)) for problem in problems]
        return [_question(name, n, messages, kind=name, part="test") for n, messages in chats]
    rng = Random(f"{name}:{SEED}")
    lines = _FREE_FILE.read_text().splitlines()[:count]
    return [
        _question(name, number, ({"role": "user", "content": line},), kind=name, part=_part(rng))
        for number, line in enumerate(lines)
    ]


def _generated(
    name: str, kinds: Mapping[str, Kind], prefix: Sequence[Mapping[str, str]], count: int
) -> Iterator[Question]:
    """As many of each kind, in a mixed order; no chat occurs twice.

    Args:
        prefix: messages that come before every question.
    """
    rng = Random(f"{name}:{SEED}")
    names = list(kinds)
    seen: set[str] = set()
    while len(seen) < count:
        kind = names[len(seen) % len(names)]
        task = rng.choice(kinds[kind])
        is_test = rng.random() < TEST_SHARE
        numbers = [n for n in range(len(task.wordings)) if (n in TEST_WORDINGS) == is_test]
        facts = task.draw(rng)
        prompt = task.prompt(facts, rng.choice(numbers))
        if prompt in seen:
            continue
        seen.add(prompt)
        yield _question(
            name,
            len(seen) - 1,
            (*prefix, {"role": "user", "content": prompt}),
            kind=kind,
            part="test" if is_test else _part(rng),
            answers=facts.answers,
        )


def _part(rng: Random) -> str:
    names, shares = zip(*PARTS, strict=True)
    return str(rng.choices(names, shares)[0])


def _question(
    name: str,
    number: int,
    messages: tuple[Mapping[str, str], ...],
    *,
    kind: str,
    part: str,
    answers: tuple[str, ...] = (),
) -> Question:
    content = "\n".join(message["content"] for message in messages)
    digest = blake2b(content.encode(), digest_size=4).hexdigest()
    return Question(
        id=f"{name}-{number:04d}-{digest}",
        set=name,
        kind=kind,
        part=part,
        messages=messages,
        max_tokens=MAX_TOKENS[name],
        answers=answers,
    )
