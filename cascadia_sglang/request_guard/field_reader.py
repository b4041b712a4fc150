"""Reads one field of a request by its type and its row of the table."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from cascadia_sglang.errors import RequestError
from cascadia_sglang.files.value_types import Reader, WrongValueError, reader_of, shown
from cascadia_sglang.request_guard.request_table import Row, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a request.

    Attributes:
        default: SGLang's; such a value needs no check.
        null: what null stands for: None where the field may be None, else the default.
        value_reader: reads the value of a single prompt.
        is_listed: whether a batch may give a list of such values, one per prompt.
        takes_null: whether null may stand in that list: SGLang puts no default there.
    """

    name: str
    row: Row
    default: Any
    null: Any
    value_reader: Reader
    is_listed: bool
    takes_null: bool

    def read(self, value: Any, scope: Scope) -> Any:
        """The value of one prompt as SGLang wants it.

        Raises:
            RequestError: 400 that names the field, the value and what is allowed.
        """
        if value is None:
            return self.null
        if self.row.refused is not None:
            raise RequestError(400, f"{self.name} is not allowed: {self.row.refused}", self.name)
        try:
            value = self.value_reader.read(value)
            if self.row.check is not None:
                self.row.check(value, scope)
        except WrongValueError as error:
            raise self.wrong(value, str(error)) from None
        return value

    def read_all(self, values: Any, count: int, scope: Scope) -> Any:
        """The value of a batch of `count` prompts: one for all of them, or a list."""
        if not self.is_listed or not isinstance(values, list):
            return self.read(values, scope)
        if self.value_reader.is_list and not (values and isinstance(values[0], list)):
            return self.read(values, scope)
        if len(values) != count:
            raise self.wrong(values, f"one value, or a list of {count}, one a prompt")
        if None in values and not self.takes_null:
            raise self.wrong(values, f"a list of {count} values, none of them null")
        return [None if value is None else self.read(value, scope) for value in values]

    def wrong(self, value: Any, allowed: str) -> RequestError:
        named = self.name
        if self.row.aliases:
            named += f" ({', '.join(self.row.aliases)})"
        return RequestError(400, f"{named} must be {allowed}, got {shown(value)}", self.name)


def fields_of(
    kind: Any, defaults: dict[str, Any], rows: dict[str, Row], *, may_be_batch: bool
) -> dict[str, Field]:
    """The fields of one of SGLang's classes, by name.

    Args:
        defaults: SGLang's, by field name.
        may_be_batch: whether a field may hold a list of values, one a prompt.
    """
    fields = {}
    for name, annotation in get_type_hints(kind).items():
        members = list(get_args(annotation)) if get_origin(annotation) is Union else [annotation]
        kinds = [member for member in members if member is not NoneType]
        listed = [kind for kind in kinds if may_be_batch and _is_batch_form(kind, members)]
        kinds = [member for member in kinds if member not in listed]
        row = rows.get(name, Row())
        fields[name] = Field(
            name=name,
            row=row,
            default=defaults[name],
            null=None if NoneType in members else defaults[name],
            value_reader=row.reader or reader_of(Union[tuple(kinds)]),  # noqa: UP007 (made at run time)
            is_listed=bool(listed),
            takes_null=any(NoneType in get_args(get_args(kind)[0]) for kind in listed),
        )
    return fields


def _is_batch_form(member: Any, members: list[Any]) -> bool:
    """Whether this member of a union is a list of what the other members are."""
    if get_origin(member) is not list:
        return False
    item = get_args(member)[0]
    items = get_args(item) if get_origin(item) is Union else (item,)
    return all(item is NoneType or item in members for item in items)


def struct_defaults(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The default of every field of a struct."""
    return {field.name: field.default for field in msgspec.structs.fields(kind)}


def read_object(
    mapping: Any, name: str, fields: Mapping[str, Field], scope: Scope
) -> dict[str, Any]:
    """An object read field by field; what is null is left out where SGLang has a default for it.

    Raises:
        RequestError: 400 that names the field, its value and what is allowed.
    """
    if not isinstance(mapping, dict):
        raise RequestError(400, f"{name} must be an object, got {shown(mapping)}", name)
    read = {}
    for key, value in mapping.items():
        field = fields.get(key)
        if field is None:
            raise RequestError(400, f"{name} has no field {shown(key)}", name)
        value = field.read(value, scope)
        if value is not None or field.default is not None:
            read[key] = value
    return read
