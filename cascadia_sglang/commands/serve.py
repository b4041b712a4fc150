"""Check a cascade file as `cascadia validate` does, then serve it.

The server replaces this process: it keeps the process id and gets its signals. All flags after the
file are SGLang's.

Example:
    cascadia serve cascade.yaml
    cascadia serve cascade.yaml --port 30001 --enable-metrics
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from cascadia_sglang.commands.validate import checked
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.launch.flag_table import Flag, flag_table

_UNREAD = object()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cascade", type=Path, help="the cascade file, YAML or JSON")
    parser.add_argument("flags", nargs=argparse.REMAINDER, help="SGLang flags, if any")


def run(args: argparse.Namespace) -> int:
    """Serve a cascade file.

    Raises:
        ConfigError: names the place and what is allowed; nothing was started.
    """
    for line in checked(args.cascade, given_flags(args.flags), None):
        print(line, flush=True)
    command = [sys.executable, "-m", "sglang.launch_server", "--plugin", "cascadia"]
    os.execv(sys.executable, [*command, "--cascade-config", str(args.cascade), *args.flags])


def given_flags(words: Sequence[str]) -> dict[str, Any]:
    """The SGLang flags of a command line by field name.

    Words that are none are left to SGLang, which knows more than its table: plugins add flags. So
    are values in a notation of a flag's own, as `64k`.

    Raises:
        ConfigError: for a value of another type than the flag's.
    """
    parser = _Parser(add_help=False)
    for name, flag in flag_table().items():
        if not flag.options:
            continue
        if flag.is_switch:
            parser.add_argument(
                *flag.options, dest=name, action="store_true", default=argparse.SUPPRESS
            )
        else:
            parser.add_argument(
                *flag.options,
                dest=name,
                type=_reader(flag),
                nargs="*" if flag.takes_many else None,
                default=argparse.SUPPRESS,
            )
    values, _ = parser.parse_known_args(words)
    return {name: value for name, value in vars(values).items() if value is not _UNREAD}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def _reader(flag: Flag) -> Callable[[str], Any]:
    """Reads a word as the flag's type."""

    def read(word: str) -> Any:
        if flag.is_json:
            return _of_notation(flag, word)
        allowed = None
        for kind in (str, int, float):
            try:
                value = kind(word)
            except ValueError:
                continue
            allowed = flag.allowed_instead([value] if flag.takes_many else value)
            if allowed is None:
                return value
        raise argparse.ArgumentTypeError(f"{word!r} is given, allowed: {allowed}")

    return read


def _of_notation(flag: Flag, word: str) -> Any:
    """The value of JSON, a number too; `_UNREAD` where SGLang alone can read it."""
    try:
        value = json.loads(word)
    except ValueError:
        return _UNREAD
    return value if flag.allowed_instead(value) is None else _UNREAD
