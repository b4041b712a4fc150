"""The project's own source files, parsed."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Folder of each import root, and what its modules' names begin with.
_ROOTS = {
    ROOT / "cascadia_sglang": "cascadia_sglang",
    ROOT / "kernels" / "cascadia_kernels": "cascadia_kernels",
    ROOT / "patches" / "cascadia_patches": "cascadia_patches",
    ROOT / "bench": "bench",
    ROOT / "demo": "demo",
}


@dataclass(frozen=True)
class Source:
    """One file.

    Attributes:
        module: dotted name it is imported by; a package's is that of the package.
    """

    path: Path
    module: str
    text: str
    tree: ast.Module

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))

    def imports(self) -> Iterator[tuple[int, str]]:
        """Line and module of every import, those within functions included."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield node.lineno, alias.name
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                # A name may be a module of the package it is imported from.
                for alias in node.names:
                    yield node.lineno, f"{node.module}.{alias.name}"


@cache
def product_files() -> tuple[Source, ...]:
    """The three packages, the benches and the demo."""
    return tuple(
        _read(path, name, folder) for folder, name in _ROOTS.items() for path in _python_in(folder)
    )


@cache
def files_of_tests() -> tuple[Source, ...]:
    """Everything under tests/."""
    folder = ROOT / "tests"
    return tuple(_read(path, "tests", folder) for path in _python_in(folder))


def _python_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def _read(path: Path, name: str, folder: Path) -> Source:
    text = path.read_text(encoding="utf-8")
    parts = path.relative_to(folder).with_suffix("").parts
    module = ".".join((name, *(part for part in parts if part != "__init__")))
    return Source(path, module, text, ast.parse(text))
