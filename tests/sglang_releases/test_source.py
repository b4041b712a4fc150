"""The reader of SGLang's source, on a small release and on the installed one."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cascadia_patches.registry import load_patch
from cascadia_patches.spec import PatchSpec
from tests.sglang_releases.asked import patch_problems
from tests.sglang_releases.source import Source, in_wheel, installed

FILES = {
    "sglang/__init__.py": "",
    "sglang/moved.py": """
from sglang.parts import Part, helper as old_helper
from sglang.all import *
""",
    "sglang/all.py": """
if TYPE_CHECKING:
    from sglang.moved import Circular
def from_star(): pass
class Circular: pass
""",
    "sglang/parts/__init__.py": """
from sglang.parts.base import Base
import torch

try:
    import fast
except ImportError:
    fast = None

if fast:
    def helper(number, *, unit="s"): pass
else:
    def helper(number, *, unit="s"): pass

class Part(Base):
    size: int
    name: str = ""
    LIMIT = 3

    def grow(self, by, **more):
        self.grown = by

    @property
    def half(self): return self.size / 2

class Foreign(torch.nn.Module):
    pass

class Built(Base):
    def __init__(self, left, right=None): pass
""",
    "sglang/parts/base.py": """
class Base:
    origin: str
    async def wait(self, seconds): pass
    async def steps(self, seconds):
        yield seconds
    @classmethod
    def make(cls, text): pass
    @staticmethod
    def read(text): pass
""",
}


@pytest.fixture(scope="module")
def source() -> Source:
    return Source(FILES.get)


@pytest.mark.parametrize(
    "dotted",
    [
        "sglang.parts.Part",
        "sglang.parts.helper",
        "sglang.parts.fast",
        "sglang.moved.Part",
        "sglang.moved.old_helper",
        "sglang.moved.from_star",
        "sglang.all.Circular",
        "sglang.moved.Part.grow",
        "sglang.parts.Part.size",
        "sglang.parts.Part.LIMIT",
        "sglang.parts.Part.half",
        "sglang.parts.Part.grown",
        "sglang.parts.Part.wait",
        "sglang.parts.Part.origin",
        "sglang.parts.torch",
    ],
)
def test_a_name_is_found_through_imports_conditions_and_bases(source: Source, dotted: str) -> None:
    assert source.find(dotted) is not None


@pytest.mark.parametrize(
    "dotted",
    [
        "sglang.parts.gone",
        "sglang.gone.Part",
        "sglang.parts.Part.gone",
        "sglang.moved.helper",
        "sglang.parts.helper.inner",
        "gone.parts",
    ],
)
def test_nothing_is_found_where_nothing_is(source: Source, dotted: str) -> None:
    assert source.find(dotted) is None


@pytest.mark.parametrize(
    ("dotted", "kind", "parameters", "takes_any"),
    [
        ("sglang.moved.old_helper", "function", ["number", "unit"], False),
        ("sglang.parts.Part.grow", "function", ["by"], True),
        ("sglang.parts.Part.wait", "async function", ["seconds"], False),
        ("sglang.parts.Part.steps", "async generator", ["seconds"], False),
        ("sglang.parts.Part.make", "classmethod", ["text"], False),
        ("sglang.parts.Part.read", "staticmethod", ["text"], False),
        ("sglang.parts.Part", "function", ["origin", "size", "name"], False),
        ("sglang.parts.Built", "function", ["left", "right"], False),
        ("sglang.parts.Foreign", "function", [], True),
    ],
)
def test_a_signature_has_kind_and_parameters(
    source: Source, dotted: str, kind: str, parameters: list[str], takes_any: bool
) -> None:
    found = source.find(dotted)
    assert found is not None
    signature = source.signature(found)
    assert signature is not None
    assert (signature.kind, signature.parameters, signature.takes_any) == (
        kind,
        parameters,
        takes_any,
    )


def test_a_wheel_is_read_as_the_installed_files_are(tmp_path: Path) -> None:
    wheel = tmp_path / "sglang-9.9.9-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in FILES.items():
            archive.writestr(path, text)
    read = in_wheel(wheel)
    assert read.find("sglang.moved.Part.wait") is not None
    assert read.find("sglang.parts.gone") is None


def test_the_installed_release_is_read() -> None:
    hooks = "sglang.srt.plugins.hook_registry"
    kinds = {
        f"{hooks}.HookRegistry.apply_hooks": "classmethod",
        f"{hooks}.HookRegistry._target_sort_key": "staticmethod",
        f"{hooks}._wrap_fn": "function",
    }
    for dotted, kind in kinds.items():
        found = installed().find(dotted)
        assert found is not None
        signature = installed().signature(found)
        assert signature is not None
        assert signature.kind == kind


def hook(_served: None) -> Callable[..., None]:
    def around(_original: object, _part: object, by: int, **_more: object) -> None: ...

    return around


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"target": "sglang.parts.Part.shrink"}, ["sglang.parts.Part.shrink"]),
        ({"target": "sglang.parts.Part.LIMIT"}, ["sglang.parts.Part.LIMIT"]),
        (
            {"kind": "classmethod"},
            ["sglang.parts.Part.grow is a function, needed: classmethod"],
        ),
        ({"parameters": ("by", "unit")}, ["sglang.parts.Part.grow takes by"]),
        (
            {"target": "sglang.parts.Part.steps", "kind": "async generator", "parameters": ()},
            ["the hook of sglang.parts.Part.steps takes by in this order"],
        ),
    ],
    ids=["fits", "gone", "no-function", "kind", "parameter", "order"],
)
def test_a_patch_that_does_not_fit_is_named(
    source: Source, changes: dict[str, object], said: list[str]
) -> None:
    patch = PatchSpec(
        target="sglang.parts.Part.grow",
        hook_type="around",
        kind="function",
        parameters=("by",),
        build=hook,
        reason="a test",
        drop_when="never",
    )
    assert patch_problems(dataclasses.replace(patch, **changes), source) == said  # type: ignore[arg-type]


def test_a_hook_that_takes_too_little_is_named() -> None:
    patch = load_patch("process.get_device_memory_capacity")
    more = FILES | {
        "sglang/srt/utils/common.py": "def get_device_memory_capacity(device, node): pass"
    }
    assert patch_problems(patch, Source(more.get)) == []
    patch = load_patch("process.get_available_gpu_memory")
    arguments = ", ".join((*patch.parameters, "node"))
    more = FILES | {
        "sglang/srt/utils/common.py": f"def get_available_gpu_memory({arguments}): pass"
    }
    said = f"the hook of {patch.target} does not take all arguments"
    assert patch_problems(patch, Source(more.get)) == [said]
