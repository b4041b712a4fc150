"""Ranges of numeric settings: a field's type names its range, and the check reads it from there.

The range is part of the JSON schema too. NaN is outside of every range, and so is infinity.
"""

import math
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec


def _bounds(**limits: float) -> msgspec.Meta:
    """Limits by their names in a JSON schema.

    `msgspec` does not enforce what stands in an extra schema. Its errors would not tell the value.
    """
    return msgspec.Meta(extra_json_schema=limits)


Share = Annotated[float, _bounds(minimum=0, maximum=1)]
PositiveShare = Annotated[float, _bounds(exclusiveMinimum=0, maximum=1)]
Positive = Annotated[float, _bounds(exclusiveMinimum=0)]
NotNegative = Annotated[float, _bounds(minimum=0)]
Count = Annotated[int, _bounds(minimum=1)]
CountOrZero = Annotated[int, _bounds(minimum=0)]


def bound_problems(settings: msgspec.Struct, place: str = "") -> Iterator[str]:
    """A line for each number outside the range of its field, nested structs and lists included.

    Args:
        place: of the struct, as a line names it: "" or one that ends with a dot.
    """
    for field in msgspec.structs.fields(settings):
        value = getattr(settings, field.name)
        yield from _problems(f"{place}{field.encode_name}", value, field.type)


def _problems(place: str, value: Any, kind: Any) -> Iterator[str]:
    members = members_of(kind)
    if isinstance(value, msgspec.Struct):
        yield from bound_problems(value, f"{place}.")
    elif isinstance(value, list):
        items = [member for member in members if typing.get_origin(member) is list]
        for index, item in enumerate(value):
            for member in items:
                yield from _problems(f"{place}[{index}]", item, typing.get_args(member)[0])
    elif isinstance(value, int | float) and not isinstance(value, bool):
        limits = limits_of(kind)
        if limits and not _is_within(value, limits):
            yield f"{place} is {value}, allowed: {allowed(kind)}"


def _is_within(value: float, limits: Mapping[str, float]) -> bool:
    return (
        math.isfinite(value)
        and value >= limits.get("minimum", -math.inf)
        and value > limits.get("exclusiveMinimum", -math.inf)
        and value <= limits.get("maximum", math.inf)
    )


def members_of(kind: Any) -> tuple[Any, ...]:
    """The alternatives of a union type; any other type alone."""
    is_union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return typing.get_args(kind) if is_union else (kind,)


def limits_of(kind: Any) -> Mapping[str, float]:
    """Limits of a type's numbers, by their names in a JSON schema; empty where it has none."""
    for member in members_of(kind):
        for note in typing.get_args(member)[1:] if typing.get_origin(member) is Annotated else ():
            if isinstance(note, msgspec.Meta) and note.extra_json_schema:
                return note.extra_json_schema
    return {}


def allowed(kind: Any) -> str:
    """The range of a type with limits, in words."""
    limits = limits_of(kind)
    low, above, high = (limits.get(n) for n in ("minimum", "exclusiveMinimum", "maximum"))
    least = f"above {above}" if low is None else f"{low}"
    if high is not None:
        words = f"{least} to {high}"
    else:
        words = least if low is None else f"{least} or more"
    return f"{words}, or null" if type(None) in members_of(kind) else words
