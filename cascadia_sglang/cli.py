"""The `cascadia` command.

Results go to stdout, progress to stderr. Bad input ends with one line and exit code 2.
"""

import argparse
import ast
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from cascadia_sglang.errors import CascadiaError
from cascadia_sglang.files.nearest import suggestion
from cascadia_sglang.version import __version__

# A command a module in `cascadia_sglang.commands`, in the order of `cascadia --help`.
COMMANDS = (
    "init",
    "validate",
    "serve",
    "calibrate",
    "profile",
    "simulate",
    "plan",
    "advise",
    "status",
    "schema",
)

BAD_INPUT = 2
INTERRUPTED = 130  # Ctrl-C, as a shell reports it


class _Parser(argparse.ArgumentParser):
    """Reports bad arguments in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code it ends with."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    named = words[0] if words and words[0] in COMMANDS else None
    parser = _Parser(prog="cascadia", description="Cascades of models in SGLang.")
    if named is None:
        parser.add_argument("--version", action="version", version=_version())
    if words and named is None and not words[0].startswith("-"):
        parser.error(
            f"unknown command {words[0]!r}{suggestion(words[0], COMMANDS)}, "
            f"allowed: {', '.join(COMMANDS)}"
        )
    choices = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=_Parser
    )
    chosen: argparse.ArgumentParser = parser
    for name in COMMANDS:
        lines = description(name)
        choice = choices.add_parser(
            name,
            help=lines.split("\n")[0],
            description=lines,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        # Commands import what they need, and some of it is heavy: only the one asked for is loaded.
        if name == named:
            command_module(name).add_arguments(choice)
            chosen = choice
    args, unknown = parser.parse_known_args(words)
    if unknown:
        flags = [flag for flag in chosen._option_string_actions if flag.startswith("--")]
        chosen.error(f"unknown argument {unknown[0]}{suggestion(unknown[0], flags)}")
    try:
        code: int = command_module(args.command).run(args)
    except CascadiaError as error:
        print(f"cascadia {args.command}: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print(f"cascadia {args.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    return code


def _version() -> str:
    """This package's version and SGLang's."""
    # A command needs none of it, and starts sooner without.
    from importlib.metadata import PackageNotFoundError, version

    try:
        sglang = version("sglang")
    except PackageNotFoundError:
        sglang = "(not installed)"
    return f"cascadia {__version__}, SGLang {sglang}"


def description(name: str) -> str:
    """What a command does and how it is called: its module's docstring, read without an import."""
    spec = importlib.util.find_spec(f"cascadia_sglang.commands.{name}")
    if spec is None or spec.origin is None:
        return ""
    return ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""


def command_module(name: str) -> ModuleType:
    """The module of a command, with its `add_arguments` and `run`."""
    return importlib.import_module(f"cascadia_sglang.commands.{name}")
