"""Links, commands and lengths of the documents."""

import importlib.util
import re
from pathlib import Path

import pytest

from cascadia_sglang.cli import COMMANDS
from tests.repo.documents import anchors, code_of, documents, relative_links
from tests.repo.source import ROOT

MAX_README_LINES = 120
MAX_PAGE_LINES = 400

DOCUMENTS = {str(path.relative_to(ROOT)): path for path in documents()}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_relative_link_leads_somewhere(name: str) -> None:
    path = DOCUMENTS[name]
    missing = []
    for target, anchor in relative_links(path):
        file = (path.parent / target).resolve() if target else path
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            missing.append(f"{target}#{anchor}" if anchor else target)
    assert missing == []


def is_module(name: str) -> bool:
    """Whether `python -m NAME` finds a module; only the packages above it are imported."""
    path = ROOT / name.replace(".", "/")
    if path.with_suffix(".py").is_file() or (path / "__main__.py").is_file():
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_that_a_document_names_is_there(name: str) -> None:
    code = code_of(DOCUMENTS[name])
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    modules = re.findall(r"python3? -m ([a-z_]\w*(?:\.\w+)*)", code)
    missing = [f"python -m {module}" for module in set(modules) if not is_module(module)]
    made = re.findall(r"(?:^|[`(;]|&& )make ([a-z][a-z-]*(?: [a-z][a-z-]+)*)", code, re.MULTILINE)
    missing += [f"make {t}" for words in made for t in words.split() if t not in targets]
    called = re.findall(r"(?:^ *|`|&& |\$ )cascadia ([a-z]+)\b", code, re.MULTILINE)
    missing += [f"cascadia {command}" for command in called if command not in COMMANDS]
    assert sorted(missing) == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= MAX_README_LINES


def test_no_page_is_too_long() -> None:
    pages = [path for path in DOCUMENTS.values() if path.is_relative_to(ROOT / "docs")]
    lengths = {str(path): len(path.read_text().splitlines()) for path in pages}
    assert {path: lines for path, lines in lengths.items() if lines > MAX_PAGE_LINES} == {}


def test_a_broken_link_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One Two\n[a](other.md#part) `[b](code.md)` [c](https://x.org) [d](#one-two)\n"
    )
    assert list(relative_links(page)) == [("other.md", "part"), ("", "one-two")]
    assert anchors(page) == {"one-two"}
