"""Says whether a model's text is the right answer: strict on the result, not on how it is set."""

from __future__ import annotations

import re
from collections.abc import Sequence

_QUOTES = str.maketrans('"`\u201c\u201d\u2018\u2019', "''''''")
_SPACE_AT_SIGNS = re.compile(r"\s*([,;:\[\](){}])\s*")
_THOUSANDS = re.compile(r"-?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?")


def is_right(text: str, answers: Sequence[str]) -> bool:
    """Whether a text is one of these answers.

    Case, white space, quotes around the whole or around its parts, a full stop at the end and
    commas between thousands do not count. Words around the answer do: it is wrong then.
    """
    return normalised(text) in {normalised(answer) for answer in answers}


def normalised(text: str) -> str:
    """The text without what does not count."""
    plain = " ".join(text.translate(_QUOTES).casefold().split())
    plain = _SPACE_AT_SIGNS.sub(r"\1", plain.strip("' "))
    plain = plain.removesuffix(".").strip("' ")
    return plain.replace(",", "") if _THOUSANDS.fullmatch(plain) else plain
