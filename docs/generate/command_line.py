"""The commands, and the flags that a cascade adds to SGLang's server."""

import argparse
import re

from cascadia_patches.registry import ARGUMENT_PATCHES, load_patch
from cascadia_sglang.cli import COMMANDS, command_module, description
from docs.generate.markdown import code, document, paragraph, table

_FLAGS_TARGET = "sglang.srt.server_args.ServerArgs.add_cli_args"
# At the end of a help text; the page has a column for it.
_DEFAULT = re.compile(r"[;.]? *[Dd]efault: (?P<value>.*?)[.]?$")


def page() -> str:
    """A section per command, then the server's flags."""
    return document(
        "Command line",
        paragraph(
            "`cascadia COMMAND --help` prints the same. Results go to stdout, progress to stderr. "
            "Bad input ends with one line and exit code 2. [Errors](errors.md) lists the codes. "
            "`cascadia --version` prints the releases of Cascadia and SGLang."
        ),
        *(_command(name) for name in COMMANDS),
        "## Flags of the server",
        paragraph(
            "With `--plugin cascadia`, `python -m sglang.launch_server` and `sglang serve` take "
            "these flags. All flags of SGLang hold for every tier. `server_args` of a tier "
            "overrides them."
        ),
        _arguments(server_parser()),
    )


def command_parser(name: str) -> argparse.ArgumentParser:
    """The arguments of a command."""
    parser = argparse.ArgumentParser(prog=f"cascadia {name}", add_help=False)
    command_module(name).add_arguments(parser)
    return parser


def server_parser() -> argparse.ArgumentParser:
    """The flags that the plugin adds to SGLang's own."""
    parser = argparse.ArgumentParser(add_help=False)
    for patch in map(load_patch, ARGUMENT_PATCHES):
        if patch.target == _FLAGS_TARGET:
            patch.build(None)(None, parser)
    return parser


def _command(name: str) -> str:
    text = description(name)
    about, _, example = text.partition("Example:\n")
    commands = "\n".join(line.removeprefix("    ") for line in example.strip("\n").splitlines())
    return "\n\n".join(
        (
            f"## cascadia {name}",
            about.strip(),
            f"```\n{commands}\n```",
            _arguments(command_parser(name)),
        )
    )


def _arguments(parser: argparse.ArgumentParser) -> str:
    rows = [_row(action) for action in parser._actions]
    return table(("argument", "default", "meaning"), rows)


def _row(action: argparse.Action) -> tuple[str, str, str]:
    text = (action.help or "") % {"default": action.default, "prog": ""}
    match = _DEFAULT.search(text)
    meaning = text[: match.start()] if match else text
    if action.choices is not None:
        meaning = f"{meaning.rstrip('.')}: {', '.join(code(choice) for choice in action.choices)}"
    return code(_name(action)), _default(action, match["value"] if match else None), meaning


def _name(action: argparse.Action) -> str:
    value = action.metavar or action.dest.upper()
    if not action.option_strings:
        shown = str(action.metavar or action.dest).upper()
        return f"{shown} ..." if action.nargs in ("+", argparse.REMAINDER) else shown
    flags = ", ".join(action.option_strings)
    return flags if action.nargs == 0 else f"{flags} {value}"


def _default(action: argparse.Action, stated: str | None) -> str:
    is_optional = action.nargs in ("?", argparse.REMAINDER)
    if action.required or not (action.option_strings or is_optional):
        return "required"
    if stated is not None:
        return stated
    if action.default in (None, "", False, argparse.SUPPRESS) or action.default == []:
        return "none"
    return code(action.default)
