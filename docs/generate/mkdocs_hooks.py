"""Hooks of MkDocs: the order of the sections, and links to files outside of docs/.

A page links to a file of the repository as a reader of the repository needs it: by a relative
path. The site holds no such file, so the hook adds it, and turns the link to it. A linked folder
becomes plain text.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation, Section
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
# Folder of the site with the files from outside of docs/.
OUTSIDE = "repository"
SECTIONS = (
    "Tutorial",
    "Guides",
    "Reference",
    "Explanation",
    "Benchmarks",
    "Contributing",
)
_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<path>[^)#:\s]+)(?P<anchor>#[^)]*)?\)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the files that pages link to outside of docs/, and those that these link to."""
    folder = Path(config.docs_dir)
    waiting = [Path(file.abs_src_path or "") for file in files.documentation_pages()]
    while waiting:
        page = waiting.pop()
        for match in _LINK.finditer(page.read_text(encoding="utf-8")):
            target = (page.parent / match["path"]).resolve()
            name = _name(target, folder)
            if name is None or files.get_file_from_path(name) is not None:
                continue
            files.append(File.generated(config, name, abs_src_path=str(target)))
            if target.suffix == ".md":
                waiting.append(target)
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the links to files outside of docs/."""
    del files
    folder = Path(config.docs_dir)
    up = "../" * page.file.src_uri.count("/")

    def turned(match: re.Match[str]) -> str:
        target = (Path(page.file.abs_src_path or "").parent / match["path"]).resolve()
        if target.is_dir():
            return match["text"]
        if target.is_relative_to(folder):
            name: str | None = target.relative_to(folder).as_posix()
        else:
            name = _name(target, folder)
        return f"[{match['text']}]({up}{name}{match['anchor'] or ''})" if name else match[0]

    return _LINK.sub(turned, markdown)


def on_nav(nav: Navigation, *, config: MkDocsConfig, files: Files) -> Navigation:
    """Put the sections in the order of a reader's questions, and leave the outside files out."""
    del config, files
    nav.items = [item for item in nav.items if item.title != OUTSIDE.title()]
    nav.items.sort(key=_order)
    return nav


def _order(item: Any) -> int:
    if not isinstance(item, Section):
        return -1
    return SECTIONS.index(item.title) if item.title in SECTIONS else len(SECTIONS)


def _name(target: Path, docs: Path) -> str | None:
    """Path on the site of a file outside of docs/; None for any other target."""
    if not target.is_file() or not target.is_relative_to(ROOT) or target.is_relative_to(docs):
        return None
    path = target.relative_to(ROOT).as_posix()
    return f"{OUTSIDE}/{path}"
