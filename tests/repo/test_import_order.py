"""Imports run downward through the layers, and never in a circle."""

import ast
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from tests.repo.layers import LAYERS, NAMES_HIGHER_TYPES
from tests.repo.source import Source, product_files

PACKAGES = ("cascadia_sglang", "cascadia_kernels", "cascadia_patches")
LINE_OF_ROOM = {room: line for line, rooms in enumerate(LAYERS) for room in rooms}


def modules() -> dict[str, Source]:
    """Of the three packages, by name."""
    return {s.module: s for s in product_files() if s.module.split(".")[0] in PACKAGES}


def room_of(module: str) -> str | None:
    """The longest name of a room that fits a module; None where none does."""
    name = module
    while name and name not in LINE_OF_ROOM:
        name = name.rpartition(".")[0]
    return name or None


def module_of(imported: str, modules: Iterable[str]) -> str | None:
    """The module that an imported name is of; None where it is of none of these modules."""
    while imported and imported not in modules:
        imported = imported.rpartition(".")[0]
    return imported or None


def circles(imports: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other, each sorted."""

    @cache
    def reached(module: str) -> frozenset[str]:
        seen, waiting = set[str](), [module]
        while waiting:
            for other in imports.get(waiting.pop(), ()):
                if other not in seen:
                    seen.add(other)
                    waiting.append(other)
        return frozenset(seen)

    inside = [module for module in imports if module in reached(module)]
    groups = {
        tuple(sorted(o for o in inside if o in reached(m) and m in reached(o))) for m in inside
    }
    return [list(group) for group in sorted(groups)]


def test_no_room_is_listed_twice() -> None:
    rooms = [room for line in LAYERS for room in line]
    assert len(set(rooms)) == len(rooms)


def test_every_module_lies_in_a_room_and_every_room_has_a_module() -> None:
    roomed = {module: room_of(module) for module in modules() if module != "cascadia_sglang"}
    assert [module for module, room in roomed.items() if room is None] == []
    assert set(LINE_OF_ROOM) - set(roomed.values()) == set()


def test_no_import_runs_upward() -> None:
    """Imports within functions count too."""
    sources, upward = modules(), []
    for name, source in sources.items():
        room = room_of(name)
        excused = source.annotation_imports() if name in NAMES_HIGHER_TYPES else set()
        for line, imported in source.imports():
            if imported in excused:
                continue
            other = room_of(module_of(imported, sources) or "")
            if room is None or other is None or other == room:
                continue
            if LINE_OF_ROOM[other] >= LINE_OF_ROOM[room]:
                upward.append(f"{source}:{line} imports {imported}")
    assert upward == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports for annotations alone count too; those within functions do not."""
    sources = {source.module: source for source in product_files()}
    imports: dict[str, set[str]] = {}
    for name, source in sources.items():
        others = (module_of(imported, sources) for imported in source.module_imports())
        imports[name] = {other for other in others if other is not None and other != name}
    assert circles(imports) == []


def test_a_circle_would_be_seen() -> None:
    imports = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d", "a"}}
    assert circles(imports) == [["b", "c"], ["d"]]


def test_an_import_for_annotations_counts_and_one_in_a_function_does_not() -> None:
    text = (
        "if TYPE_CHECKING:\n    from a import b\ndef f():\n    import c\nclass D:\n    import d\n"
    )
    source = Source(Path("x.py"), "x", text, ast.parse(text))
    assert list(source.module_imports()) == ["a.b", "d"]
    assert source.annotation_imports() == {"a.b"}
