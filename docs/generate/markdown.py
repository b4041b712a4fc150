"""Pieces of Markdown."""

import textwrap
from collections.abc import Iterable, Sequence

NOTE = "<!-- Written by `make docs` from the code. Change the code, not this page. -->"


def document(title: str, *parts: str) -> str:
    """A generated page: its heading, a note that it is generated, and its parts."""
    return "\n\n".join((f"# {title}", NOTE, *(part for part in parts if part))) + "\n"


def paragraph(text: str) -> str:
    """A paragraph, wrapped."""
    return textwrap.fill(" ".join(text.split()), 100, break_on_hyphens=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, one line per row."""
    lines = [_row(columns), "|" + "---|" * len(columns)]
    return "\n".join([*lines, *(_row(row) for row in rows)])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def code(value: object) -> str:
    """A value as code."""
    return f"`{value}`"
