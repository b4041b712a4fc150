"""Which of the values in a text the text claims: one, or none where that is in doubt.

A value that is denied, asked about or compared with is passed over. The ends of a range, the items
of a list, a bound, and the parts of a calculation without its result leave it open what is claimed.
"""

# ruff: noqa: RUF001  signs of mathematics and typography stand for themselves
import itertools
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, Self, TypeVar


class Claim(Protocol):
    """A value that a text may claim."""

    def is_same(self, other: Self) -> bool:
        """Whether both say the same."""


Value = TypeVar("Value", bound=Claim)


@dataclass(frozen=True, slots=True)
class Token(Generic[Value]):
    """A value and its place in a text; the value is None where it cannot be read."""

    start: int
    end: int
    value: Value | None


class _Role(Enum):
    CLAIMED = "claimed"
    PASSED_OVER = "passed over"
    OPEN = "open"


_CLAUSE_START = re.compile(
    r"[.!?;](?:\s|$)|\n|,\s|\b(?:but|so|therefore|hence|thus|however|because|since"
    r"|instead(?! of)|rather(?! than))\b",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?](?:\s|$)|\n")
_DENIED_BEFORE = re.compile(
    r"\b(?:not|never|no|nor|neither|cannot|without|except|excluding|unlike|wrong|incorrect|false"
    r"|instead of|rather than|compared (?:to|with)|versus|vs|if|when|whether|unless|suppose"
    r"|assum\w+)\b|n't\b|≠",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"[^.!?;,\n]{0,30}?(?:\b(?:is|was|are|were|be|seems|looks)\s+(?:\w+\s+)?"
    r"(?:not|wrong|incorrect|false|never|impossible)\b|n't\b|\bcannot\b|\b(?:does|did|do) not\b)",
    re.IGNORECASE,
)
_COMPARED = re.compile(r"\bthan\s+(?:\w+\s+)?[$€£(]?$", re.IGNORECASE)
_BOUND_BEFORE = re.compile(
    r"(?:\b(?:at (?:least|most)|(?:more|less|fewer) than|over|under|above|below|up to|exceeds?"
    r"|nearly|almost|between|minimum of|maximum of)|[<>≤≥±])\s*[$€£(]?\s*$",
    re.IGNORECASE,
)
_BOUND_AFTER = re.compile(
    r"\s*(?:[<>≤≥±]|\+(?!\s*\d)|(?:or|and) (?:more|less|fewer|above|below|higher|lower|over|up)\b)",
    re.IGNORECASE,
)
_EQUALS = re.compile(
    r"[\s)\]]*(?:\w+\s+)?(?:=|≈|→|=>|\bis|\bequals|\bgives|\bmakes|\bare|\bleaves)[\s:]*(?:\w+\s+)?"
    r"[\s$(]*",
    re.IGNORECASE,
)
_OPERATOR = re.compile(
    r"[\s)\]]*(?:\w+\s+)?(?:[-+*/^×÷–—%]|\*\*|//|x|mod|times|plus|minus|multiplied by|divided by"
    r"|to the power of|choose)[\s$(\[]*",
    re.IGNORECASE,
)
_LIST = re.compile(
    r"\s*[,;]\s*|:|\s:\s"
    r"|\s*(?:\w+\s+){0,2}?,?\s*(?:to|through|or|and|until|out of|/)\s+"
    r"(?:\w+\s+)?(?:=\s*)?[$€£(]?\s*",
    re.IGNORECASE,
)
# Between items of a list whose last ones an "and" joins.
_ITEM = re.compile(r"\s*(?:\w+\s*){0,2},\s*")
# What a quantity is counted in: "There are 300 minutes in 5 hours."
_FRAME_START = re.compile(r"\s*(?:so,?\s+)?there (?:are|is|were|was|will be)\b", re.IGNORECASE)
_FRAME = re.compile(r"\b(?:in|of|on|at|per|for|within)\s+(?:an?\s+|the\s+)?$", re.IGNORECASE)
_IN_BRACKETS = re.compile(r"\([^()\n]*\)")
# A sentence that ends otherwise than by a colon.
_SENTENCE_BEFORE = re.compile(r"\w[^\w:]*(?:[.!?]\s|\n)")
_REACH = 200  # characters of a clause that are looked at


def claimed(text: str, tokens: Sequence[Token[Value]], *, from_start: bool) -> Value | None:
    """The one value that a text claims.

    Args:
        tokens: in the order of the text.
        from_start: whether the first claim counts, which then stands in the text's first sentence;
            the last claim of the text otherwise.
    """
    if from_start and tokens and _SENTENCE_BEFORE.search(text, 0, tokens[0].start):
        return None
    pairs = list(zip(tokens, _roles(text, tokens), strict=True))
    for token, role in pairs if from_start else reversed(pairs):
        if role is _Role.OPEN:
            return None
        if role is _Role.CLAIMED:
            return token.value
    return None


def _roles(text: str, tokens: Sequence[Token[Value]]) -> list[_Role]:
    roles = _roles_alone(text, tokens)
    gaps = [text[first.end : second.start] for first, second in itertools.pairwise(tokens)]
    _open_lists(gaps, tokens, roles)
    _resolve_calculations(gaps, roles)
    _pass_over_brackets(text, tokens, roles)
    return roles


def _roles_alone(text: str, tokens: Sequence[Token[Value]]) -> list[_Role]:
    """The role of every value by the words of its clause."""
    clause_starts = [0, *(match.end() for match in _CLAUSE_START.finditer(text))]
    ends = [(match.start(), match[0]) for match in _SENTENCE_END.finditer(text)]
    ends.append((len(text), ""))
    roles = []
    last_start = -1
    for token in tokens:
        clause_start = clause_starts[bisect_right(clause_starts, token.start) - 1]
        sentence_end, sign = ends[bisect_left(ends, (token.end, ""))]
        before = text[max(clause_start, token.start - _REACH) : token.start]
        after = text[token.end : min(sentence_end, token.end + _REACH)]
        is_frame = (
            last_start >= clause_start
            and _FRAME.search(before) is not None
            and _FRAME_START.match(text, clause_start) is not None
        )
        is_passed_over = is_frame or sign.startswith("?")
        roles.append(_role_alone(before, after, is_passed_over=is_passed_over, token=token))
        last_start = token.start
    return roles


def _role_alone(before: str, after: str, *, is_passed_over: bool, token: Token[Value]) -> _Role:
    if _BOUND_BEFORE.search(before) or _BOUND_AFTER.match(after):
        return _Role.OPEN
    if is_passed_over or _COMPARED.search(before):
        return _Role.PASSED_OVER
    if _DENIED_BEFORE.search(before) or _DENIED_AFTER.match(after):
        return _Role.PASSED_OVER
    return _Role.OPEN if token.value is None else _Role.CLAIMED


def _open_lists(gaps: Sequence[str], tokens: Sequence[Token[Value]], roles: list[_Role]) -> None:
    """Leave open the items of a list and the ends of a range, unless all of them are the same."""
    follows = False  # whether the next value is an item before others
    for index in reversed(range(len(gaps))):
        gap, first, second = gaps[index], tokens[index].value, tokens[index + 1].value
        is_joined = _LIST.fullmatch(gap) or (follows and _ITEM.fullmatch(gap))
        follows = "\n" not in gap and bool(is_joined)
        if follows and (first is None or second is None or not first.is_same(second)):
            for item in (index, index + 1):
                if roles[item] is _Role.CLAIMED:
                    roles[item] = _Role.OPEN


def _resolve_calculations(gaps: Sequence[str], roles: list[_Role]) -> None:
    """Pass over the parts of a calculation whose result stands beside it; others stay open."""
    start = 0
    for index in range(len(roles)):
        if index < len(gaps) and "\n" not in gaps[index] and _OPERATOR.fullmatch(gaps[index]):
            continue
        if index > start:
            is_worked_out = index < len(gaps) and _EQUALS.fullmatch(gaps[index])
            is_explained = start > 0 and _EQUALS.fullmatch(gaps[start - 1])
            role = _Role.PASSED_OVER if is_worked_out or is_explained else _Role.OPEN
            roles[start : index + 1] = [role] * (index + 1 - start)
        start = index + 1


def _pass_over_brackets(text: str, tokens: Sequence[Token[Value]], roles: list[_Role]) -> None:
    """Pass over what brackets add to a value outside of them."""
    starts = [match.span() for match in _IN_BRACKETS.finditer(text)]
    inside = []
    for token in tokens:
        bracket = bisect_right(starts, (token.start, 0)) - 1
        inside.append(bracket >= 0 and token.end < starts[bracket][1])
    if not all(inside):
        for index in range(len(roles)):
            if inside[index]:
                roles[index] = _Role.PASSED_OVER
