"""JSON text of files that people write: a key that is given twice is an error, a BOM is none."""

import codecs
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cascadia_sglang.errors import ConfigError

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]')


class DuplicateKeyError(ValueError):
    """A key that an object has twice; the text names it with its lines."""


def without_bom(content: bytes) -> bytes:
    return content.removeprefix(codecs.BOM_UTF8)


def json_data(content: bytes) -> Any:
    """What a JSON text holds; NaN and infinities, which are no JSON, are taken as Python does.

    Raises:
        DuplicateKeyError: if an object has a key twice.
        ValueError: if it is no JSON, or nested too deeply.
    """
    content = without_bom(content)
    has_duplicates = False

    def checked(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal has_duplicates
        listed = list(pairs)
        data = dict(listed)
        has_duplicates = has_duplicates or len(data) < len(listed)
        return data

    try:
        data = json.loads(content.decode("utf-8"), object_pairs_hook=checked)
    except UnicodeDecodeError as error:
        raise ValueError(f"no UTF-8 text: {error}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if has_duplicates:
        raise DuplicateKeyError(_first_duplicate(content))
    return data


def read_json_object(path: Path) -> dict[str, Any]:
    """The object in a file of a model, as Transformers reads it: the last of equal keys counts.

    Raises:
        ConfigError: if the file cannot be read or holds no object; names the file.
    """
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: an object is needed")
    return data


def given_twice(key_path: str, line: int, first_line: int) -> str:
    """The line on a key that is given twice."""
    if line == first_line:
        return f"{key_path} is given twice (line {line})"
    return f"{key_path} is given twice (line {line}, first on line {first_line})"


def key_path_text(parts: Iterable[str | int]) -> str:
    """Keys and indices as one text: `tiers[1].name`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.removeprefix(".")


def _first_duplicate(content: bytes) -> str:
    """Names the first key that is given twice, in valid JSON that has one."""
    # Of every open object or list: where its keys stand, None for a list; and the current key path.
    open_keys: list[dict[str, int] | None] = []
    key_path: list[str | int] = []
    is_key = False
    for match in _TOKEN.finditer(content):
        token = match.group()
        if token in (b"{", b"["):
            open_keys.append({} if token == b"{" else None)
            key_path.append("" if token == b"{" else 0)
            is_key = token == b"{"
        elif token in (b"}", b"]"):
            open_keys.pop()
            key_path.pop()
            is_key = False
        elif token == b",":
            last = key_path[-1]
            if isinstance(last, int):
                key_path[-1] = last + 1
            is_key = open_keys[-1] is not None
        elif token == b":":
            is_key = False
        elif is_key:
            key: str = json.loads(token)
            key_path[-1] = key
            keys = open_keys[-1]
            line = content.count(b"\n", 0, match.start()) + 1
            if keys is not None:
                if key in keys:
                    return given_twice(key_path_text(key_path), line, keys[key])
                keys[key] = line
    raise AssertionError("no key is given twice")
