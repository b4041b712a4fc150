"""What the client got for each question of a live run, kept as one JSON object a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.real.questions import RealQuestion


class Reply(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One streamed answer.

    Attributes:
        id: of the question.
        tier: that answered, by the headers.
        score: of the answer, by the headers; None where no judge rated it.
        seconds: from the request to the end of the stream.
    """

    id: str
    tier: str
    score: float | None
    text: str
    seconds: float


def save_replies(path: Path, replies: Sequence[Reply]) -> None:
    """Write all replies; a file that is there is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(msgspec.json.encode(reply) + b"\n" for reply in replies))


def load_replies(path: Path, questions: Sequence[RealQuestion]) -> list[Reply]:
    """The replies to these questions, in their order.

    Raises:
        SystemExit: if there are none, or they are of other questions.
    """
    if not path.exists():
        raise SystemExit(f"{path} is missing: a run without --again makes it")
    decoder = msgspec.json.Decoder(Reply)
    replies = [decoder.decode(line) for line in path.read_bytes().splitlines()]
    if [reply.id for reply in replies] != [question.id for question in questions]:
        raise SystemExit(f"{path} holds replies to other questions: run without --again")
    return replies
