"""Errors on keys that a file may not have, with the nearest key that it may have there."""

import re
import typing
from collections.abc import Iterator
from typing import Any

import msgspec

from cascadia_sglang.files.nearest import suggestion
from cascadia_sglang.value_ranges import members_of

_UNKNOWN = re.compile(r"unknown field `(?P<key>[^`]*)`(?: - at `\$(?P<key_path>.*)`)?$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[[^\]]*\]")


def with_nearest_key(error: Exception, kind: Any) -> str:
    """The text of msgspec's error in one line; where a key is not known, with the nearest known.

    Args:
        kind: the type that the file was read as.
    """
    # A key may hold line breaks.
    text = "\\n".join(str(error).split("\n"))
    match = _UNKNOWN.search(text)
    if match is None:
        return text
    kinds = [kind]
    for step in _STEP.finditer(match["key_path"] or ""):
        kinds = [inner for outer in kinds for inner in _inner(outer, step[1])]
    allowed = {
        field.encode_name
        for kind in kinds
        for member in members_of(kind)
        if isinstance(member, type) and issubclass(member, msgspec.Struct)
        for field in msgspec.structs.fields(member)
    }
    return text + suggestion(match["key"], sorted(allowed))


def _inner(kind: Any, key: str | None) -> Iterator[Any]:
    """Types of the value at a key of an object, or of a list's items where the key is None."""
    for member in members_of(kind):
        if isinstance(member, type) and issubclass(member, msgspec.Struct):
            for field in msgspec.structs.fields(member):
                if field.encode_name == key:
                    yield field.type
        elif typing.get_args(member):
            yield typing.get_args(member)[-1]
