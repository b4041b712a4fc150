"""Ranges of numeric settings: a field's type names its range, and the check reads it from there.

The range is part of the JSON schema too. NaN is outside of every range, and so is infinity.
"""

import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

import msgspec


def bounds(**limits: float) -> msgspec.Meta:
    """Limits by their names in a JSON schema.

    `msgspec` does not enforce what stands in an extra schema. Its errors would not tell the value.
    """
    return msgspec.Meta(extra_json_schema=limits)


Share = Annotated[float, bounds(minimum=0, maximum=1)]
PositiveShare = Annotated[float, bounds(exclusiveMinimum=0, maximum=1)]
Positive = Annotated[float, bounds(exclusiveMinimum=0)]
NotNegative = Annotated[float, bounds(minimum=0)]
Count = Annotated[int, bounds(minimum=1)]
CountOrZero = Annotated[int, bounds(minimum=0)]


def bound_problems(settings: msgspec.Struct, prefix: str = "") -> Iterator[str]:
    """A line for each number outside the range of its field, nested structs and lists included.

    Args:
        prefix: of the struct, as a line names it: "" or one that ends with a dot.
    """
    for field in _ranged_fields(type(settings)):
        value = getattr(settings, field.name)
        here = f"{prefix}{field.key}"
        if isinstance(value, list):
            for index, item in enumerate(value):
                yield from _problems(f"{here}[{index}]", item, field.item_limits, field.items)
        else:
            yield from _problems(here, value, field.limits, field.allowed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _RangedField:
    """A field that has a range, or may hold structs with such fields.

    Attributes:
        key: its name in the file.
        allowed: its range in words; "" where it has none.
        item_limits: of the items of a list.
        items: their range in words.
    """

    name: str
    key: str
    limits: Mapping[str, float]
    allowed: str
    item_limits: Mapping[str, float]
    items: str


@cache
def _ranged_fields(kind: type[msgspec.Struct]) -> tuple[_RangedField, ...]:
    return tuple(
        _RangedField(
            name=field.name,
            key=field.encode_name,
            limits=limits_of(field.type),
            allowed=allowed(field.type),
            item_limits=limits_of(_item_type(field.type)),
            items=allowed(_item_type(field.type)),
        )
        for field in msgspec.structs.fields(kind)
    )


def _problems(key_path: str, value: Any, limits: Mapping[str, float], words: str) -> Iterator[str]:
    if isinstance(value, msgspec.Struct):
        yield from bound_problems(value, f"{key_path}.")
    elif limits and isinstance(value, int | float) and not _is_within(value, limits):
        yield f"{key_path} is {value}, allowed: {words}"


def _item_type(kind: Any) -> Any:
    """Type of the items where a type is or may be a list; else None."""
    lists = [member for member in members_of(kind) if typing.get_origin(member) is list]
    return typing.get_args(lists[0])[0] if lists else None


def _is_within(value: float, limits: Mapping[str, float]) -> bool:
    return (
        math.isfinite(value)
        and value >= limits.get("minimum", -math.inf)
        and value > limits.get("exclusiveMinimum", -math.inf)
        and value <= limits.get("maximum", math.inf)
        and value < limits.get("exclusiveMaximum", math.inf)
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
    """The range of a type's numbers in words; "" where it has none."""
    limits = limits_of(kind)
    if not limits:
        return ""
    above, below = limits.get("exclusiveMinimum"), limits.get("exclusiveMaximum")
    low = f"{limits['minimum']}" if above is None else f"above {above}"
    high = limits.get("maximum") if below is None else f"below {below}"
    words = low if above is not None else f"{low} or more"
    if high is not None:
        words = f"{low} to {high}"
    return f"{words}, or null" if type(None) in members_of(kind) else words
