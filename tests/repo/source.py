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
            for name in _imported(node):
                yield getattr(node, "lineno", 0), name

    def module_imports(self) -> Iterator[str]:
        """Module of every import outside of functions, those for annotations alone included."""
        waiting: list[ast.AST] = [self.tree]
        while waiting:
            node = waiting.pop()
            yield from _imported(node)
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                waiting.extend(reversed(list(ast.iter_child_nodes(node))))

    def annotation_imports(self) -> set[str]:
        """Modules imported for annotations alone: below `if TYPE_CHECKING`."""
        return {
            name
            for node in ast.walk(self.tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for inner in ast.walk(node)
            for name in _imported(inner)
        }


def _imported(node: ast.AST) -> list[str]:
    """The modules that a statement imports. A name may be a module of its package."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


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
