"""What every file of the project keeps to."""

import ast
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence

from cascadia_sglang import __version__
from tests.repo.source import ROOT, Source, files_of_tests, product_files

# Lines of a module.
LONG, TOO_LONG = 300, 500
# Modules of a folder; `__init__` does not count.
MOST_MODULES = 20

# Names that say nothing of what is inside.
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}


def test_no_module_is_longer_than_500_lines() -> None:
    """More than 300 are a warning."""
    lengths = {str(source): len(source.text.splitlines()) for source in product_files()}
    assert {path: length for path, length in lengths.items() if length > TOO_LONG} == {}
    long = {path: length for path, length in lengths.items() if length > LONG}
    if long:
        listed = ", ".join(f"{path} {length}" for path, length in sorted(long.items()))
        warnings.warn(f"modules of more than {LONG} lines: {listed}", stacklevel=1)


def test_no_folder_has_more_than_20_modules() -> None:
    counts = Counter(
        source.path.parent.relative_to(ROOT).as_posix()
        for source in product_files()
        if source.path.name != "__init__.py"
    )
    crowded = {folder: count for folder, count in counts.items() if count > MOST_MODULES}
    assert crowded == {}


def test_every_module_begins_with_what_it_is_for() -> None:
    missing = [
        str(source)
        for source in (*product_files(), *files_of_tests())
        if not ast.get_docstring(source.tree)
    ]
    assert missing == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [str(s) for s in product_files() if VAGUE_NAMES & set(s.module.split("."))] == []


def test_imports_are_absolute() -> None:
    relative = [
        f"{source}:{node.lineno}"
        for source in (*product_files(), *files_of_tests())
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]
    assert relative == []


def silent_handlers(source: Source) -> Iterator[int]:
    """Lines of `except` clauses that do nothing."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and all(
            isinstance(inner, ast.Pass)
            or (isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant))
            for inner in node.body
        ):
            yield node.lineno


def test_no_exception_is_swallowed() -> None:
    silent = [f"{source}:{line}" for source in product_files() for line in silent_handlers(source)]
    assert silent == []


def test_a_swallowed_exception_would_be_seen() -> None:
    text = "try:\n    f()\nexcept OSError:\n    pass\n"
    assert list(silent_handlers(Source(ROOT / "x.py", "x", text, ast.parse(text)))) == [3]


def exported(source: Source) -> list[str]:
    """What a module's `__all__` lists."""
    for node in source.tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
        ):
            names: list[str] = ast.literal_eval(node.value)
            return names
    return []


def bound_in(body: Sequence[ast.stmt]) -> Iterator[str]:
    """Names that statements bind; those under `if TYPE_CHECKING` are imported on first use."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from bound_in(node.body)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name


def test_what_a_module_exports_is_bound_in_it() -> None:
    for source in product_files():
        names = exported(source)
        assert set(names) <= set(bound_in(source.tree.body)), source
        assert len(set(names)) == len(names), source


def test_the_changelog_has_a_section_for_this_version() -> None:
    sections = re.findall(
        r"^## \[?(Unreleased|[0-9.]+)\]?", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert "Unreleased" in sections or __version__ in sections
