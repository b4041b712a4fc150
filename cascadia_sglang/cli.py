"""The `cascadia` command.

Results go to stdout, progress to stderr. Bad input ends with one line and exit code 2.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType

from cascadia_sglang.errors import CascadiaError

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code it ends with."""
    # Commands import what they need, and some of it is heavy: only the one asked for is loaded.
    words = sys.argv[1:] if arguments is None else list(arguments)
    named = words[0] if words and words[0] in COMMANDS else None
    parser = argparse.ArgumentParser(prog="cascadia", description="Cascades of models in SGLang.")
    choices = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = _module(name) if named in (None, name) else None
        lines = (module.__doc__ or "").strip() if module is not None else ""
        choice = choices.add_parser(
            name,
            help=lines.split("\n")[0],
            description=lines,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if module is not None:
            module.add_arguments(choice)
    args = parser.parse_args(words)
    try:
        code: int = _module(args.command).run(args)
    except CascadiaError as error:
        print(f"cascadia {args.command}: {error}", file=sys.stderr)
        return BAD_INPUT
    return code


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"cascadia_sglang.commands.{name}")
