"""The docstrings of a struct's fields, read from the source."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

import msgspec


def field_docs(kind: type) -> dict[str, str]:
    """Meaning of each field that has a docstring, by the field's name; inherited ones first.

    Needs the source of the class.
    """
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base is not msgspec.Struct and "__annotations__" in vars(base):
            docs |= _class_docs(base)
    return docs


@cache
def _class_docs(kind: type) -> dict[str, str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef))
    return {
        before.target.id: inspect.cleandoc(node.value.value)
        for before, node in pairwise(body)
        if isinstance(before, ast.AnnAssign)
        and isinstance(before.target, ast.Name)
        and isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


def nested_structs(struct: type[msgspec.Struct]) -> list[type[msgspec.Struct]]:
    """A struct and those within it, each once, in the order of their fields."""
    structs: dict[type[msgspec.Struct], None] = {}
    _collect(msgspec.inspect.type_info(struct), structs)
    return list(structs)


def _collect(info: msgspec.inspect.Type, structs: dict[type[msgspec.Struct], None]) -> None:
    if isinstance(info, msgspec.inspect.StructType):
        if info.cls in structs:
            return
        structs[info.cls] = None
        for field in info.fields:
            _collect(field.type, structs)
    for inner in _inner_types(info):
        _collect(inner, structs)


def _inner_types(info: msgspec.inspect.Type) -> Iterator[msgspec.inspect.Type]:
    if isinstance(info, msgspec.inspect.UnionType):
        yield from info.types
    elif isinstance(info, msgspec.inspect.Metadata):
        yield info.type
    elif isinstance(info, msgspec.inspect.DictType):
        yield info.value_type
    elif isinstance(info, msgspec.inspect.CollectionType):
        yield info.item_type
    elif isinstance(info, msgspec.inspect.TupleType):
        yield from info.item_types
