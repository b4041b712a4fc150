"""Whether two answers say the same, by their words."""

import re
import unicodedata

# Longer answers than this rarely repeat word by word, however well they agree.
SHORT_CHARACTERS = 64

_QUOTES = "\"'`*“”‘’«»"  # noqa: RUF001
_START = re.compile(rf"^[\s{_QUOTES}]+")
# An exclamation mark after a digit is a factorial.
_END = re.compile(rf"(?:(?<=[^\d\s])!|[\s{_QUOTES}.,;:?…。、])+$")
_NUMBER = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:,\d{3})+)(?:\.\d+)?%?")


def same_answer(answer: str, other: str) -> bool:
    """Whether two answers are equal as `plain_answer` writes them."""
    return answer == other or plain_answer(answer) == plain_answer(other)


def plain_answer(answer: str) -> str:
    """An answer without what differs in form alone.

    Letters lose their case, and wide or joined characters become plain ones (Unicode NFKC). Space
    counts as one blank. Quotes, asterisks and final punctuation go from the ends. An answer that is
    one number loses its sign +, the commas between thousands, and zeros after the last decimal.
    """
    text = " ".join(unicodedata.normalize("NFKC", answer).casefold().split())
    text = _END.sub("", _START.sub("", text))
    return _plain_number(text) if _NUMBER.fullmatch(text) else text


def is_short(answer: str) -> bool:
    """Whether an answer is short enough for its words to say whether it agrees with another."""
    return len(plain_answer(answer)) <= SHORT_CHARACTERS


def _plain_number(text: str) -> str:
    percent = "%" if text.endswith("%") else ""
    number = text.rstrip("%").lstrip("+").replace(",", "")
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    return number + percent
