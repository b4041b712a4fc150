"""YAML text that people write: values on which YAML readers disagree are errors.

PyYAML reads YAML 1.1, where `no` is false, `1:30` is 90, `017` is 15 and `1e3` is a text. Whoever
writes such a thing seldom means it.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.files.json_text import given_twice, json_data, key_path_text

_INT, _FLOAT, _BOOL, _DATE, _TEXT = (
    f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "timestamp", "str")
)
# Unquoted scalars that YAML 1.1 and 1.2 read differently, and what a reader of 1.1 makes of them.
_ODD_NUMBERS = (
    (re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"), "a number to the base 60"),
    (re.compile(r"[-+]?0[0-7_]+"), "an octal number"),
    (re.compile(r"[-+]?0b[01_]+"), "a binary number"),
    (re.compile(r"[-+]?(0x)?[0-9a-fA-F.]*_[0-9a-fA-F_.]*([eE][-+]?[0-9]+)?"), "a number with '_'"),
)
_TEXT_NUMBERS = re.compile(r"[-+]?(0o[0-7]+|\.[0-9]+|([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+)")

KeyPath = tuple[str | int, ...]


# Where msgspec says that a text was needed.
_TEXT_NEEDED = re.compile(r"^Expected `[^`]*\bstr\b[^`]*`.* - at `\$\.(.*)`$")


@dataclass(frozen=True, slots=True)
class DataFile:
    """What a YAML or JSON file holds, and where.

    Attributes:
        unquoted: line and text of every scalar without quotes that is no text, by its place.
    """

    data: Any
    unquoted: dict[str, tuple[int, str]]

    def misread(self, error: BaseException | None) -> str | None:
        """How to write what YAML does not read as the text that msgspec needs; None elsewhere."""
        wrong = _TEXT_NEEDED.match(str(error))
        scalar = self.unquoted.get(wrong.group(1)) if wrong else None
        return None if scalar is None else f"`{scalar[1]}` on line {scalar[0]} is no text: quote it"


def read_data(path: Path, what: str) -> DataFile:
    """Read a file: JSON where its name ends so, else YAML; `what` it is begins every error.

    Raises:
        ConfigError: if the file is missing or cannot be read; one line that names the place.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{what} {path}: {error.strerror}") from error
    try:
        if path.suffix == ".json":
            return DataFile(json_data(content), {})
        return yaml_data(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what} {path}: no UTF-8 text: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{what} {path}: {error}") from error


def yaml_data(text: str) -> DataFile:
    """Read one YAML document.

    Raises:
        ValueError: if it is no YAML; if a key is given twice; or of a scalar that YAML readers
            disagree on, or that is no finite number. The text names the place and the line.
    """
    try:
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
            if root is None:
                return DataFile(None, {})
            walk = _Walk()
            walk.visit(root, ())
            data = loader.construct_document(root)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return DataFile(data, walk.unquoted)


class _Walk:
    """Looks at every node before anything is made of it: later, a second key replaces the first."""

    def __init__(self) -> None:
        self.unquoted: dict[str, tuple[int, str]] = {}
        self._done: set[int] = set()
        self._open: set[int] = set()

    def visit(self, node: yaml.Node, key_path: KeyPath) -> None:
        if id(node) in self._open:
            raise ValueError(f"{key_path_text(key_path)} contains itself (line {_line(node)})")
        if id(node) in self._done:
            return
        self._open.add(id(node))
        if isinstance(node, yaml.MappingNode):
            self._visit_mapping(node, key_path)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.visit(item, (*key_path, index))
        elif isinstance(node, yaml.ScalarNode) and node.style is None:
            self._visit_plain(node, key_path)
        self._open.remove(id(node))
        self._done.add(id(node))

    def _visit_mapping(self, node: yaml.MappingNode, key_path: KeyPath) -> None:
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            name = (key.tag, key.value)
            if name in lines:
                raise ValueError(
                    given_twice(key_path_text((*key_path, key.value)), _line(key), lines[name])
                )
            lines[name] = _line(key)
        for key, value in node.value:
            self.visit(key, key_path)
            inner = key.value if isinstance(key, yaml.ScalarNode) else "..."
            self.visit(value, (*key_path, inner))

    def _visit_plain(self, node: yaml.ScalarNode, key_path: KeyPath) -> None:
        text, where = node.value, f"{key_path_text(key_path) or 'the file'} (line {_line(node)})"
        if node.tag == _TEXT:
            if _TEXT_NUMBERS.fullmatch(text):
                raise ValueError(
                    f"{where}: {text} is a text in YAML: write a number with plain digits, "
                    "or quote it"
                )
            return
        if node.tag == _DATE:
            raise ValueError(f"{where}: {text} is a date in YAML: quote it")
        if node.tag in (_INT, _FLOAT):
            for pattern, kind in _ODD_NUMBERS:
                if pattern.fullmatch(text):
                    raise ValueError(
                        f"{where}: {text} is {kind} in YAML: write plain digits, or quote it"
                    )
        if node.tag == _FLOAT and not _is_finite(text):
            raise ValueError(f"{where}: {text} is no finite number")
        self.unquoted[key_path_text(key_path)] = (_line(node), text)


def _is_finite(text: str) -> bool:
    # `.inf`, `-.INF` and `.nan` are what Python's reader does not know.
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _line(node: yaml.Node) -> int:
    line: int = node.start_mark.line
    return line + 1
