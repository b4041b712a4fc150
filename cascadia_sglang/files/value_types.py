"""Readers of values that came as JSON, made from type annotations.

A reader takes a value and returns it as the annotation means it, or raises `WrongValueError`.
"""

import contextlib
import math
import reprlib
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

INT32_MAX = 2**31 - 1
_INT64_MAX = 2**63 - 1
# Above it no value fits a tensor of 32-bit floats.
FLOAT32_MAX = 3.4e38


class WrongValueError(ValueError):
    """A value that is not allowed; the text says what is, as in "must be ..."."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads values of one type.

    Attributes:
        allowed: what it takes, in words.
        read: returns the value, converted where the type asks for it; raises WrongValueError.
        is_list: whether it takes lists.
    """

    allowed: str
    read: Callable[[Any], Any]
    is_list: bool = False


def shown(value: Any) -> str:
    """A value as an error message shows it: in one short line."""
    return reprlib.repr(value)


def reader_of(annotation: Any) -> Reader:
    """The reader of a type annotation.

    Numbers are JSON's: a float without a fraction is an integer, a boolean is no number. Integers
    fit 64 bits, floats are finite and fit 32 bits.

    Raises:
        TypeError: for an annotation that it does not know.
    """
    if annotation in _SIMPLE:
        return _SIMPLE[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return reader_of(arguments[0])
    if origin is Literal:
        return _literal(arguments)
    if origin is Union or origin is types.UnionType:
        return _union([reader_of(member) for member in arguments])
    if origin in (list, set):
        return _items(reader_of(arguments[0]), takes_null=origin is set)
    if origin is dict or annotation is dict or str(annotation) == "typing.Dict":
        return _object(reader_of(arguments[1]) if len(arguments) == 2 else _SIMPLE[Any])
    if isinstance(annotation, type):
        return _instance(annotation)
    raise TypeError(f"no reader for {annotation!r}")


def integer_in(low: int, high: int) -> Reader:
    """Reads integers of a range."""
    allowed = f"an integer from {low} to {high}"

    return Reader(allowed, _in_range(_read_int, low, high, allowed))


def number_in(low: float, high: float) -> Reader:
    """Reads numbers of a range."""
    allowed = f"a number from {low:g} to {high:g}"

    return Reader(allowed, _in_range(_read_float, low, high, allowed))


def _in_range(
    read: Callable[[Any], float], low: float, high: float, allowed: str
) -> Callable[[Any], float]:
    def read_in_range(value: Any) -> float:
        try:
            number = read(value)
        except WrongValueError:
            raise WrongValueError(allowed) from None
        if not low <= number <= high:
            raise WrongValueError(allowed)
        return number

    return read_in_range


def _read_int(value: Any) -> int:
    if type(value) is int:
        if -_INT64_MAX - 1 <= value <= _INT64_MAX:
            return value
    elif type(value) is float and value.is_integer() and abs(value) < 2**53:
        return int(value)
    raise WrongValueError("an integer of at most 64 bits")


def _read_float(value: Any) -> float:
    if type(value) is float:
        if math.isfinite(value) and abs(value) <= FLOAT32_MAX:
            return value
    elif type(value) is int and abs(value) <= FLOAT32_MAX:
        return value
    raise WrongValueError("a finite number that fits 32 bits")


def _read_bool(value: Any) -> bool:
    if value is True or value is False:
        return value
    if type(value) is int and value in (0, 1):
        return value == 1
    raise WrongValueError("true or false")


def _read_str(value: Any) -> str:
    if not isinstance(value, str):
        raise WrongValueError("a string")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise WrongValueError("a string without lone surrogates") from None
    return value


def _read_none(value: Any) -> None:
    if value is not None:
        raise WrongValueError("null")


_SIMPLE: dict[Any, Reader] = {
    Any: Reader("any value", lambda value: value),
    bool: Reader("true or false", _read_bool),
    float: Reader("a finite number that fits 32 bits", _read_float),
    int: Reader("an integer of at most 64 bits", _read_int),
    str: Reader("a string", _read_str),
    types.NoneType: Reader("null", _read_none),
}


def _literal(values: tuple[Any, ...]) -> Reader:
    allowed = "one of " + ", ".join(map(repr, values))

    def read(value: Any) -> Any:
        if isinstance(value, str) and value in values:
            return value
        raise WrongValueError(allowed)

    return Reader(allowed, read)


def _union(members: list[Reader]) -> Reader:
    allowed = " or ".join(dict.fromkeys(member.allowed for member in members))

    def read(value: Any) -> Any:
        for member in members:
            with contextlib.suppress(WrongValueError):
                return member.read(value)
        raise WrongValueError(allowed)

    return Reader(allowed, read, is_list=any(member.is_list for member in members))


def _items(item: Reader, takes_null: bool) -> Reader:
    """Of a list; a set comes as a list too, and null in it stands for nothing."""
    is_flat = item is _SIMPLE[int]
    allowed = "a flat list of integers" if is_flat else f"a list, each item {item.allowed}"

    def read(value: Any) -> list[Any]:
        if not isinstance(value, list | set | frozenset | tuple):
            raise WrongValueError(allowed)
        try:
            items = [item.read(entry) for entry in value if not (takes_null and entry is None)]
        except WrongValueError:
            raise WrongValueError(allowed) from None
        return items

    return Reader(allowed, read, is_list=True)


def _object(item: Reader) -> Reader:
    allowed = "an object"
    if item is not _SIMPLE[Any]:
        allowed += f", each value {item.allowed}"

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise WrongValueError(allowed)
        if item is _SIMPLE[Any]:
            return value
        try:
            return {_read_str(key): item.read(entry) for key, entry in value.items()}
        except WrongValueError:
            raise WrongValueError(allowed) from None

    return Reader(allowed, read)


def _instance(kind: type) -> Reader:
    allowed = f"a {kind.__name__}"

    def read(value: Any) -> Any:
        if not isinstance(value, kind):
            raise WrongValueError(allowed)
        return value

    return Reader(allowed, read)
