"""Conversations over long system messages: the demo's `get` questions, eight turns each."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from demo.tasks.families import KEY_LETTERS

# With as many pairs and notes as the demo was trained on at most.
PAIRS = 20
SYSTEM_CHARS = (620, 860)
TURNS = 8
LETTERS = "abcdefghij"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A system message, and what is asked over it in turn.

    Attributes:
        system: lines that set keys, among notes; a token a character.
        keys, answers: of the turns.
    """

    system: str
    keys: tuple[str, ...]
    answers: tuple[str, ...]

    def prompt(self, turn: int) -> str:
        """With the earlier turns and their right answers."""
        lines = [self.system]
        for key, answer in zip(self.keys[:turn], self.answers[:turn], strict=True):
            lines += [f"get {key}", answer]
        return "\n".join([*lines, f"get {self.keys[turn]}"])


def chats(seed: int, count: int) -> list[Chat]:
    """Some conversations, no two over one system message."""
    rng = Random(f"chats:{seed}")
    return [_chat(rng) for _ in range(count)]


def _chat(rng: Random) -> Chat:
    pairs: dict[str, str] = {}
    while len(pairs) < PAIRS:
        pairs["".join(rng.choices(KEY_LETTERS, k=2))] = f"{rng.randrange(100):02d}"
    lines = [f"set {key}={value}" for key, value in pairs.items()]
    room = rng.randint(*SYSTEM_CHARS)
    while sum(map(len, lines)) + len(lines) < room:
        note = f"note {''.join(rng.choices(LETTERS, k=rng.randint(4, 40)))}"
        lines.insert(rng.randint(0, len(lines)), note)
    keys = tuple(rng.choices(list(pairs), k=TURNS))
    return Chat(system="\n".join(lines), keys=keys, answers=tuple(pairs[key] for key in keys))
