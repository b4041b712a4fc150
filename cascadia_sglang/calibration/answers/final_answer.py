r"""Where a model's text gives its answer.

The last `\boxed{}` counts, then the last "the answer is" or "####", then the text as a whole. What
a model thinks before its answer does not count, and an answer that it takes back is none.
"""

import re
from dataclasses import dataclass

from cascadia_sglang.calibration.answers.plain_text import plain_text

_THOUGHT_END = re.compile(r"</(?:think|thinking|thought|reasoning)>")
_THOUGHT_START = re.compile(r"<(?:think|thinking|thought|reasoning)>")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BRACE = re.compile(r"(?<!\\)[{}]")
_BETWEEN_BOXES = re.compile(r"[\s$,;.]*(?:and|or)?[\s$,;.]*", re.IGNORECASE)
_DENIED_BOX = re.compile(r"(?:\b(?:not|never|isn't|cannot be)|≠|\\neq?)[\s$:*(=]*$", re.IGNORECASE)
# With a verb, or as the head of a line, which may also begin a calculation.
_MARKER = re.compile(
    r"\b(?:answer|result|solution)s?(?:\s+(?:to|of|for)\b[^.:;?\n]{1,80}?)?\s+"
    r"(?:(?:is|are|was|were)|(?:would|should|must|will) be|equals)\b"
    r"(?:,?\s+(?:therefore|thus|then|simply|just))?[,:]?"
    r"|(?P<head>####+|\b(?:answer|result)s?\s*[*_]*\s*[=:≈])",
    re.IGNORECASE,
)
# What follows a head is an answer up to so many words, and a calculation beyond.
_SHORT = 4
_FIRST_SENTENCE = re.compile(r"[\s*_:]*((?:(?![.!?](?:\s|$)|\n).)*)")
# An answer that is another's, or that is not the last word.
_ANOTHERS = re.compile(
    r"\b(?:wrong|incorrect|false|bad|previous|earlier|initial|first|possible|partial|common|"
    r"expected|student'?s?|his|her|their|your|no|if|whether|suppose|assume|assuming|unless|until|"
    r"intermediate)\s+(?:the\s+|an?\s+|that\s+|final\s+|correct\s+)*$",
    re.IGNORECASE,
)
_CORRECTION = re.compile(
    r"\b(?:wait\b|scratch that|on second thought|correction\s*:|let me (?:re\w+|correct|double)"
    r"|i made an? (?:mistake|error)|actually,? (?:it|that|this|the|no)\b)",
    re.IGNORECASE,
)
_CORRECT = "(?:right|correct|true|the (?:right|correct|answer))"
_TAKEN_BACK = re.compile(
    r"\b(?:that|this|it|which|above)(?:'s|\s+(?:is|was|would be|seems|looks))\s+"
    rf"(?:\w+\s+)?(?:wrong|incorrect|false|mistaken|not {_CORRECT})"
    rf"|\b(?:that|this|it) (?:isn't|wasn't) {_CORRECT}\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class FinalAnswer:
    """The part of a text that gives its answer, without markup.

    Attributes:
        is_marked: whether the text says that this is its answer, which then comes first in `text`.
    """

    text: str
    is_marked: bool


def final_answer(text: str) -> FinalAnswer | None:
    """The answer that a text gives; None where it thinks to its end, or takes the answer back."""
    thought = list(_THOUGHT_END.finditer(text))
    if thought:
        text = text[thought[-1].end() :]
    elif _THOUGHT_START.search(text):
        return None
    boxes = list(_BOX.finditer(text))
    if boxes:
        return _boxed(text, boxes)
    text = plain_text(text)
    correction = _last(_CORRECTION, text)
    start = 0 if correction is None else correction.end()
    markers = [
        match
        for match in _MARKER.finditer(text, start)
        if not _ANOTHERS.search(text, max(start, match.start() - 80), match.start())
    ]
    given = text[markers[-1].end() if markers else start :]
    if _TAKEN_BACK.search(given):
        return None
    is_marked = bool(markers) and (markers[-1]["head"] is None or _begins_short(given))
    return FinalAnswer(given, is_marked)


def _begins_short(text: str) -> bool:
    match = _FIRST_SENTENCE.match(text)
    return match is not None and len(match[1].split()) <= _SHORT


def _boxed(text: str, boxes: list[re.Match[str]]) -> FinalAnswer | None:
    """What the last box holds, with the boxes that are listed together with it."""
    contents: list[str] = []
    next_start = None
    for box in reversed(boxes):
        end = _closing(text, box.end())
        if end is None:
            return None  # the text was cut off inside of it
        if next_start is not None and not _BETWEEN_BOXES.fullmatch(text, end + 1, next_start):
            break
        if next_start is None and _TAKEN_BACK.search(plain_text(text[end + 1 :])):
            return None
        contents.insert(0, text[box.end() : end])
        next_start = box.start()
    if _DENIED_BOX.search(text, max(0, (next_start or 0) - 40), next_start or 0):
        return None
    return FinalAnswer(plain_text(", ".join(contents)), is_marked=True)


def _closing(text: str, start: int) -> int | None:
    """Index of the brace that closes the one before `start`; None where there is none."""
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.start()
    return None


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    last = None
    for last in pattern.finditer(text):  # noqa: B007
        pass
    return last
