"""Print the JSON schema of a file that Cascadia reads or writes.

Example:
    cascadia schema problem
"""

import argparse

from cascadia_sglang.schemas import NAMES, read_schema


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", choices=NAMES, help="name of the file")


def run(args: argparse.Namespace) -> int:
    """Print the schema."""
    print(read_schema(args.name), end="")
    return 0
