"""Changes that mean the same, so that no test can notice them."""

from __future__ import annotations

import re

# Operator, line, and why the change means the same.
EQUIVALENT = (
    (
        "ReplaceTrueWithFalse",
        r"@dataclass\(|class \w+\(msgspec\.Struct, ",
        "how a record is stored and made: the type checker refuses what these forbid",
    ),
    ("RemoveDecorator", r"@overload", "only type checkers read it"),
    (
        "ReplaceComparisonOperator_Eq_LtE",
        r'.* if on_error == "accept" else ',
        "of the two words that are allowed, none is before it",
    ),
    (
        "ReplaceBinaryOperator_(Sub|BitOr)_BitXor",
        r"after = sets\[-1\]",
        "a replica that starts is not in the set, and one that stops is",
    ),
    (
        "ReplaceComparisonOperator_GtE_Eq",
        r"if (after in self\._seen or )?len\(self\._seen\) >= MAX_STATES",
        "no set is added beyond the limit",
    ),
    (
        "ReplaceComparisonOperator_NotEq_IsNot",
        r"return any\(peer\.pool == replica\.pool and peer != replica",
        "a set holds a replica once, as the object that is asked for",
    ),
    (
        "ReplaceBinaryOperator_Mul_LShift",
        r"everything = sum\(",
        "it is never less, and no plan holds more devices than there are",
    ),
)


def is_equivalent(operator: str, line: str) -> bool:
    """Whether a change of a line means the same."""
    return any(
        re.fullmatch(known, operator) is not None and re.match(pattern, line) is not None
        for known, pattern, _ in EQUIVALENT
    )
