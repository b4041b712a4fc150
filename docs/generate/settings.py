"""The keys of a file that one struct describes."""

import inspect
import json
import typing
from typing import Annotated, Any, Literal

import msgspec

from cascadia_sglang.field_docs import field_docs, nested_structs
from cascadia_sglang.value_ranges import allowed, limits_of, members_of
from docs.generate.markdown import code, document, paragraph, table

_COLUMNS = ("key", "type", "default", "allowed", "meaning")


def page(title: str, struct: type[msgspec.Struct], about: str) -> str:
    """A section per struct, a row per key.

    Raises:
        KeyError: for a field without a docstring; names it.
    """
    return document(title, paragraph(about), *sections(struct))


def sections(
    struct: type[msgspec.Struct],
    *,
    level: int = 2,
    skipped: frozenset[type[msgspec.Struct]] = frozenset(),
) -> list[str]:
    """A section per struct of a file, in the order of the keys.

    Args:
        level: of the headings.
        skipped: structs that are described elsewhere.

    Raises:
        KeyError: for a field without a docstring; names it.
    """
    places = _places(struct)
    return [
        _section(kind, f"{'#' * level} {places[kind]}")
        for kind in nested_structs(struct)
        if kind not in skipped
    ]


def _section(kind: type[msgspec.Struct], heading: str) -> str:
    docs = field_docs(kind)
    about = inspect.getdoc(kind) or ""
    rows = [_row(field, docs) for field in msgspec.structs.fields(kind)]
    return "\n\n".join((heading, about, table(_COLUMNS, rows)))


def _places(struct: type[msgspec.Struct]) -> dict[type, str]:
    """Heading of each struct's section: where its keys stand in the file."""
    places: dict[type, str] = {struct: "Top level"}
    for kind in nested_structs(struct):
        before = "" if kind is struct else places[kind].strip("`") + "."
        for field in msgspec.structs.fields(kind):
            for inner, ending in _structs_of(field.type):
                places.setdefault(inner, code(f"{before}{field.encode_name}{ending}"))
    return places


def _structs_of(kind: Any, ending: str = "") -> list[tuple[type, str]]:
    structs: list[tuple[type, str]] = []
    for member in members_of(kind):
        origin = typing.get_origin(member)
        if isinstance(member, type) and issubclass(member, msgspec.Struct):
            structs.append((member, ending))
        elif origin is list:
            structs += _structs_of(typing.get_args(member)[0], f"{ending}[]")
        elif origin is dict:
            structs += _structs_of(typing.get_args(member)[1], f"{ending}.NAME")
    return structs


def _row(field: msgspec.structs.FieldInfo, docs: dict[str, str]) -> tuple[str, ...]:
    return (
        code(field.encode_name),
        type_name(field.type),
        _default(field),
        _allowed(field.type),
        docs[field.name],
    )


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default
    if value is msgspec.NODEFAULT:
        value = field.default_factory()
    if isinstance(value, msgspec.Struct):
        return "each key's own"
    return code(json.dumps(value))


def _allowed(kind: Any) -> str:
    """Values in words; empty where the type says all."""
    inner = [part for member in members_of(kind) for part in (member, *typing.get_args(member))]
    choices = [
        code(choice)
        for member in members_of(kind)
        if typing.get_origin(member) is Literal
        for choice in typing.get_args(member)
    ]
    ranges = {allowed(member) for member in inner if limits_of(member)}
    return ", ".join([*choices, *sorted(ranges)])


_NAMES = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    bytes: "text in base64",
    type(None): "null",
    Any: "any",
}


def type_name(kind: Any) -> str:
    """A type as a reader of YAML or JSON knows it."""
    return " or ".join(dict.fromkeys(_name(member) for member in members_of(kind)))


def _name(kind: Any) -> str:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return type_name(inner[0])
    if origin is Literal:
        return "text"
    if origin is list:
        return f"list of {_plural(type_name(inner[0]))}"
    if origin is tuple:
        return "pair of numbers" if len(inner) == 2 and {*inner} <= {int, float} else "list"
    if origin is dict:
        return f"map of {_plural(type_name(inner[1]))}"
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return "map"
    return _NAMES[kind]


def _plural(name: str) -> str:
    if name.endswith(" or null"):
        return f"{_plural(name.removesuffix(' or null'))} or null"
    if name in ("text", "any"):
        return {"text": "texts", "any": "values"}[name]
    first, _, rest = name.partition(" of ")
    return f"{first}s of {rest}" if rest else f"{first}s"
