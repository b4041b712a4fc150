"""Lists and runs the benches.

python -m bench list                        # what each asks, needs and writes
python -m bench run router.overhead         # one or more, or all of a folder (real)
python -m bench run router.fuzz -- --seed 2 # with more arguments for the bench
python -m bench run --all                   # those that need neither a GPU nor files of others
python -m bench run --smoke                 # each once, briefly; writes nothing
python -m bench table bench/README.md       # writes the table of the document anew
"""

from __future__ import annotations

import argparse
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bench import ROOT
from bench.benches import BENCHES
from bench.registry import CPU, LITELLM, Bench, named
from bench.table import details, summary, with_table

INPUTS = sorted({name for bench in BENCHES for name in (*bench.inputs, *bench.may_take)})


def chosen(options: argparse.Namespace) -> list[Bench]:
    """The benches that the command line asks for.

    Raises:
        ValueError: if a name is unknown, or none is given.
    """
    if options.names:
        return named(BENCHES, options.names)
    if options.smoke:
        return [bench for bench in BENCHES if bench.smoke]
    if options.all:
        return [bench for bench in BENCHES if bench.is_in_all and {*bench.needs} <= {CPU, LITELLM}]
    raise ValueError("name a bench, or give --all or --smoke; `python -m bench list` names them")


def commands(benches: Iterable[Bench], options: argparse.Namespace) -> Iterator[list[str]]:
    """The arguments of `python -m`, in their order.

    Raises:
        ValueError: if a bench has no smoke form, or lacks an option.
    """
    values = {name: value for name in INPUTS if (value := getattr(options, name)) is not None}
    for bench in benches:
        if not options.smoke:
            yield from bench.commands(values, options.more)
        elif bench.smoke:
            yield from bench.smoke_commands(options.more)
        else:
            raise ValueError(f"{bench.name} has no smoke form")


def run(commands_to_run: Sequence[Sequence[str]]) -> int:
    """Run commands one after the other up to the first that fails; its exit code, or 0."""
    for number, words in enumerate(commands_to_run, 1):
        print(f"{number} of {len(commands_to_run)}: $ python -m {shlex.join(words)}", flush=True)
        started = time.monotonic()
        code = _ended([sys.executable, "-m", *words])
        print(f"exit code {code} after {(time.monotonic() - started) / 60:.1f} min", flush=True)
        if code:
            return code
    return 0


def _ended(command: Sequence[str]) -> int:
    """Run a command and wait for its end, also where a signal asks for it: 128 + its number."""
    process = subprocess.Popen(command, cwd=ROOT)
    # A terminal sends SIGINT to both; SIGTERM comes here alone.
    handlers = {signal.SIGINT: lambda *_: None, signal.SIGTERM: lambda *_: process.terminate()}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; `more` is what follows `--`."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True)
    lists = actions.add_parser("list", help="print every bench, or all that is known of some")
    lists.add_argument("names", nargs="*", metavar="NAME", help="of a bench, or of a folder")
    table = actions.add_parser("table", help="write the table of a document anew")
    table.add_argument("document", type=Path)
    runs = actions.add_parser("run", help="run benches")
    runs.add_argument("names", nargs="*", metavar="NAME", help="of a bench, or of a folder")
    which = runs.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true")
    which.add_argument("--smoke", action="store_true", help="briefly; writes nothing")
    for name in INPUTS:
        takers = [bench.name for bench in BENCHES if name in (*bench.inputs, *bench.may_take)]
        runs.add_argument(f"--{name}", metavar="PATH", help=f"for {', '.join(takers)}")
    options = parser.parse_args(arguments[:end])
    options.more = arguments[end + 1 :]
    return options


def main() -> int:
    """Do what the command line says; the exit code."""
    options = parsed(sys.argv[1:])
    try:
        if options.action == "run":
            return run(list(commands(chosen(options), options)))
        if options.action == "list":
            benches = named(BENCHES, options.names)
            print(
                "\n".join(line for bench in benches for line in details(bench)) or summary(BENCHES)
            )
        else:
            options.document.write_text(with_table(options.document.read_text(), BENCHES))
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
