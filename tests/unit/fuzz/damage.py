"""Damage to data that a reader takes: one place of a tree replaced, or some bytes of a file."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

# Of each test; `tests.unit.fuzz.long` asks for more.
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "30"))

_NUMBERS = (0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**400, 1e308, -0.0, 0.5)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(_NUMBERS)
    | st.floats()
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
_PIECES = (
    b"",
    b"\0",
    b"\xff\xfe",
    b'"',
    b"{",
    b"]",
    b",",
    b"\n",
    b"- ",
    b"NaN",
    b"1e999",
    b"&a *a",
)


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a tree with every key of it."""
    if not isinstance(node, dict | list):
        return
    for key, inner in node.items() if isinstance(node, dict) else enumerate(node):
        yield node, key
        yield from _places(inner)


def mutated(data: Any) -> st.SearchStrategy[Any]:
    """The same tree with one place replaced, missing, or under another name."""
    count = sum(1 for _ in _places(data))

    def mutate(number: int, how: str, value: Any) -> Any:
        tree = copy.deepcopy(data)
        node, key = list(_places(tree))[number]
        if how == "replace":
            node[key] = value
        elif how == "remove" or isinstance(node, list):
            del node[key]
        else:
            node[f"{key}x"] = node.pop(key)
        return tree

    how = st.sampled_from(["replace", "replace", "remove", "rename"])
    return st.builds(mutate, st.integers(0, count - 1), how, JSON)


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """The same bytes but for one to three places, where some are gone and others are there."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        length = draw(st.sampled_from([0, 1, 2, 8, len(content)]))
        piece = draw(st.sampled_from(_PIECES) | st.binary(max_size=4))
        content = content[:start] + piece + content[start + length :]
    return content
