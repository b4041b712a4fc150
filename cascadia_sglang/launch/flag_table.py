"""SGLang's flags by name, type, choices and options, without importing SGLang, which takes seconds.

They are read from SGLang's source. A later release brings its own table with it.
"""

import ast
import importlib.util
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.files.value_types import Reader, WrongValueError, reader_of

# Where SGLang declares them: a class a namespace, which its path marks.
_FOLDER = Path("srt", "arg_groups", "fields")
_MARK = "_NS_PATH"
_CHOICES = Path("srt", "arg_groups", "choices.py")
# Choices that SGLang adds to its command line beside the declarations.
_PARSERS = {
    "tool_call_parser": (Path("srt", "function_call", "parser_names.py"), "TOOL_CALL_PARSER_NAMES"),
    "reasoning_parser": (
        Path("srt", "parser", "reasoning_parser_names.py"),
        "REASONING_PARSER_NAMES",
    ),
}
_TYPES = {name: getattr(typing, name) for name in ("Optional", "Union", "List", "Dict", "Literal")}
_TYPES |= {kind.__name__: kind for kind in (int, float, str, bool, list, dict, set, type)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """A flag of SGLang.

    Attributes:
        options: how the command line spells it; none where it has no option.
        reader: of its type.
        choices: values that it may have; None where any value of the type may stand.
        is_switch: whether the option has no value.
        takes_many: whether the option has several values.
        is_json: whether the option's value is JSON, or another notation of its own.
    """

    options: tuple[str, ...]
    reader: Reader
    choices: tuple[Any, ...] | None
    is_switch: bool = False
    takes_many: bool = False
    is_json: bool = False

    def allowed_instead(self, value: Any) -> str | None:
        """What may stand in place of a value of a cascade file; None where the value may stand."""
        if self.choices is not None:
            values = value if isinstance(value, list) else [value]
            if any(item not in self.choices or isinstance(item, bool) for item in values):
                shown = ("null" if choice is None else repr(choice) for choice in self.choices)
                return "one of " + ", ".join(shown)
        try:
            read = self.reader.read(value)
        except WrongValueError:
            return self.reader.allowed
        # SGLang gets the value as it is: 8.0 is no whole number there, and 1 is not true.
        return None if repr(read) == repr(value) else self.reader.allowed


def flag_table() -> dict[str, Flag]:
    """Every field of SGLang's `ServerArgs` by its name.

    Raises:
        ConfigError: if SGLang's source is not where it is expected.
    """
    package = importlib.util.find_spec("sglang")
    root = None if package is None or package.origin is None else Path(package.origin).parent
    flags: dict[str, Flag] = {}
    if root is not None:
        choices = dict(_constants(root / _CHOICES))
        for path in sorted((root / _FOLDER).glob("*.py")):
            for name, annotation in _declarations(path):
                flags[name] = _flag(name, annotation, choices)
        for name, (path, constant) in _PARSERS.items():
            names = dict(_constants(root / path)).get(constant)
            if name in flags and names is not None:
                flags[name] = _of_parsers(name, ["auto", *names])
    if not flags:
        raise ConfigError("SGLang's flags cannot be read: is SGLang installed?")
    return flags


def _declarations(path: Path) -> Iterator[tuple[str, ast.expr]]:
    """Name and annotation of every flag of a file."""
    for statement in _parsed(path):
        if not isinstance(statement, ast.ClassDef):
            continue
        marks = {
            target.id
            for member in statement.body
            if isinstance(member, ast.Assign)
            for target in member.targets
            if isinstance(target, ast.Name)
        }
        if _MARK in marks:
            for member in statement.body:
                if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
                    yield member.target.id, member.annotation


def _constants(path: Path) -> Iterator[tuple[str, list[Any]]]:
    """Names and values of a file's lists."""
    constants: dict[str, list[Any]] = {}
    for statement in _parsed(path):
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            value = _value(statement.value, constants)
            if isinstance(value, list):
                constants[statement.targets[0].id] = value
                yield statement.targets[0].id, value


def _parsed(path: Path) -> list[ast.stmt]:
    return ast.parse(path.read_text(encoding="utf-8")).body if path.is_file() else []


def _flag(name: str, annotation: ast.expr, constants: Mapping[str, list[Any]]) -> Flag:
    """Of `A[type, "help"]`, `A[type, Arg(...)]`, or a type alone, which has no declared option."""
    given: dict[str, ast.expr] = {}
    options: tuple[str, ...] = ()
    kind = annotation
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "A":
        assert isinstance(annotation.slice, ast.Tuple)
        kind, about = annotation.slice.elts[:2]
        if isinstance(about, ast.Call):
            given = {
                keyword.arg: keyword.value for keyword in about.keywords if keyword.arg is not None
            }
        if "no_cli" not in given:
            option = _value(given["cli_name"], {}) if "cli_name" in given else _option(name)
            aliases = _value(given["aliases"], {}) if "aliases" in given else None
            options = (option, *(aliases or ()))
    read = _type(kind)
    literal = _literals(read)
    listed = _value(given["choices"], constants) if "choices" in given else None
    choices = tuple(listed) if isinstance(listed, list | tuple) else literal
    members = typing.get_args(read)
    inner = [member for member in members if member is not type(None) and member is not None]
    if choices is not None and None not in choices and len(inner) < len(members):
        choices = (*choices, None)
    plain = inner[0] if typing.get_origin(read) is typing.Union and len(inner) == 1 else read
    is_json = "type_parser" in given
    has_count = "nargs" in given or (
        "action_kwargs" in given and "nargs" in ast.unparse(given["action_kwargs"])
    )
    return Flag(
        options=options,
        reader=reader_of(Any if literal else read),
        choices=choices,
        is_switch=plain is bool,
        takes_many=has_count or (typing.get_origin(plain) is list and not is_json),
        is_json=is_json,
    )


def _of_parsers(name: str, names: list[str]) -> Flag:
    return Flag(
        options=(_option(name),),
        reader=reader_of(str | None),
        choices=(*names, None),
    )


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


class _Names(dict[str, Any]):
    """Types by name; what is not known may be anything."""

    def __missing__(self, name: str) -> Any:
        return Any


def _type(annotation: ast.expr) -> Any:
    text = ast.unparse(annotation)
    return eval(text, {"__builtins__": {}}, _Names(_TYPES))


def _literals(annotation: Any) -> tuple[Any, ...] | None:
    """The values of `Literal[...]` or `Optional[Literal[...]]`; None of another type."""
    if typing.get_origin(annotation) is typing.Literal:
        return typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Union:
        members = [member for member in typing.get_args(annotation) if member is not type(None)]
        return _literals(members[0]) if len(members) == 1 else None
    return None


def _value(expression: ast.expr, constants: Mapping[str, list[Any]]) -> Any:
    """What an expression of literals and known lists gives; None for any other."""
    if isinstance(expression, ast.Name):
        return constants.get(expression.id)
    if isinstance(expression, ast.BinOp) and isinstance(expression.op, ast.Add):
        sides = [_value(side, constants) for side in (expression.left, expression.right)]
        return None if None in sides else sides[0] + sides[1]
    try:
        return ast.literal_eval(expression)
    except ValueError:
        return None
