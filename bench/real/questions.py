"""Questions with known answers for two real models, made from a seed: three mixes of 600.

Every prompt fits 45 tokens and every answer 8, so that a machine without an accelerator answers all
of them in an hour. An instruction and examples of bare answers come before each, the same for all,
so a prefix cache keeps them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from random import Random

from bench.real.mixes import arithmetic, expressions, texts
from bench.real.mixes.drawn import Drawn, Family

INSTRUCTION = "Answer with the result only."
# Small models follow examples better than an instruction.
EXAMPLES = (
    ("17 + 6 = ?", "23"),
    ("What does Python print? print('cloud'[1:3])", "lo"),
    ("Which word is the shortest: garden, sun, bread?", "sun"),
    ("How many days are 2 weeks?", "14"),
)


def instruction_and_examples(
    instruction: str, examples: Iterable[tuple[str, str]]
) -> tuple[Mapping[str, str], ...]:
    """The messages before a question: a system message, then questions with their answers."""
    shown = (
        {"role": role, "content": content}
        for example in examples
        for role, content in zip(("user", "assistant"), example, strict=True)
    )
    return ({"role": "system", "content": instruction}, *shown)


PREFIX = instruction_and_examples(INSTRUCTION, EXAMPLES)
MAX_TOKENS = 12
MIX_SIZE = 600
# Of the benches; what is fitted or chosen beforehand draws with other seeds.
SEED = 25
# In the order in which they are asked.
MIXES: dict[str, Mapping[str, Family]] = {
    "arithmetic": arithmetic.FAMILIES,
    "python": expressions.FAMILIES,
    "text": texts.FAMILIES,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RealQuestion:
    """One question.

    Attributes:
        id: mix, number and a digest of the prompt, so that answers to other prompts never match.
        answers: each is right; the first is the plain one.
    """

    id: str
    mix: str
    family: str
    prompt: str
    answers: tuple[str, ...]

    @property
    def messages(self) -> list[dict[str, str]]:
        """The whole chat."""
        return [*PREFIX, {"role": "user", "content": self.prompt}]


def questions(seed: int = SEED, mix_size: int = MIX_SIZE) -> list[RealQuestion]:
    """All mixes one after the other; the same arguments always give the same questions.

    No prompt occurs twice.
    """
    return [q for mix in MIXES for q in _questions_of(mix, seed, mix_size)]


def _questions_of(mix: str, seed: int, size: int) -> Iterator[RealQuestion]:
    rng = Random(f"{mix}:{seed}")
    families = list(MIXES[mix].items())
    seen: set[str] = set()
    while len(seen) < size:
        name, family = rng.choice(families)
        drawn = family(rng)
        if drawn.prompt not in seen:
            seen.add(drawn.prompt)
            yield _question(mix, len(seen) - 1, name, drawn)


def _question(mix: str, number: int, family: str, drawn: Drawn) -> RealQuestion:
    digest = blake2b(drawn.prompt.encode(), digest_size=4).hexdigest()
    return RealQuestion(
        id=f"{mix}-{number:03d}-{digest}",
        mix=mix,
        family=family,
        prompt=drawn.prompt,
        answers=(drawn.answer, *drawn.also),
    )
