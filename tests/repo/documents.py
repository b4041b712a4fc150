"""The project's Markdown files, and what they name."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.repo.source import ROOT

_FOLDERS = ("docs", "bench", "demo", "examples", "kernels", "patches", "cascadia_sglang")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"^( *)```.*?^\1``` *$|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def documents() -> list[Path]:
    """Every Markdown file of the project."""
    inner = [path for folder in _FOLDERS for path in (ROOT / folder).rglob("*.md")]
    return sorted([*ROOT.glob("*.md"), *inner])


def relative_links(path: Path) -> Iterator[tuple[str, str]]:
    """Path and anchor of each link of a document to a file of the project."""
    prose = _CODE.sub("", path.read_text(encoding="utf-8"))
    for link in _LINK.findall(prose):
        if "://" not in link and not link.startswith("mailto:"):
            target, _, anchor = link.partition("#")
            yield target, anchor


def code_of(path: Path) -> str:
    """The pieces of code of a document, one after the other."""
    return "\n".join(match[0] for match in _CODE.finditer(path.read_text(encoding="utf-8")))


def anchors(path: Path) -> set[str]:
    """The anchors that a code host gives the headings of a document."""
    prose = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
