"""The patches on disk, in the registry and in the document are the same."""

from __future__ import annotations

from pathlib import Path

from cascadia_patches import registry
from cascadia_patches.catalogue import table, with_table
from cascadia_patches.registry import load_patch

PATCHES = Path(__file__).resolve().parents[2] / "patches"
NAMES = registry.ALL_PATCHES


def test_the_table_in_the_document_is_that_of_the_patches() -> None:
    text = (PATCHES / "README.md").read_text()
    assert text == with_table(text), "run `make docs`"


def test_the_table_names_every_patch() -> None:
    named = table()
    targets = [load_patch(name).target.removeprefix("sglang.srt.") for name in NAMES]
    assert [target for target in targets if f"| `{target}` |" not in named] == []


def test_every_patch_module_is_in_force_somewhere() -> None:
    modules = {
        f"{path.parent.name}.{path.stem}"
        for path in (PATCHES / "cascadia_patches").glob("*/*.py")
        if path.stem != "__init__"
    }
    assert modules == set(NAMES)


def test_a_patch_module_is_named_after_its_target() -> None:
    for name in NAMES:
        owner, method = load_patch(name).target.split(".")[-2:]
        # A function of one of SGLang's folders of utilities stands for itself.
        is_alone = owner in ("common", "utils")
        words = method if is_alone else owner + method
        module = name.partition(".")[2]
        assert module.replace("_", "") == words.replace("_", "").lower(), name


def test_no_two_patches_have_the_same_target() -> None:
    targets = [load_patch(name).target for name in NAMES]
    assert len(set(targets)) == len(targets)
