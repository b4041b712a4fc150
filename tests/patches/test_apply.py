"""Patches are registered once, take, and say so where they did not. Over a tiny upstream module."""

import asyncio
import importlib.metadata
import importlib.util
import logging
import sys
import types
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from cascadia_patches.apply import apply_patches, register_patches, verify_patches
from cascadia_patches.spec import PatchSpec
from cascadia_sglang.errors import PatchError

HOOK_REGISTRY = "sglang.srt.plugins.hook_registry"

UPSTREAM = """
def function(number): return number

async def coroutine(number): return number

async def generator(number):
    yield number

class Manager:
    def method(self, number): return number

    @classmethod
    def of_class(cls, number): return number

    @staticmethod
    def static(number): return number
"""

KINDS = {
    "function": "function",
    "coroutine": "async function",
    "generator": "async generator",
    "Manager.method": "function",
    "Manager.of_class": "classmethod",
    "Manager.static": "staticmethod",
}


@pytest.fixture(autouse=True)
def hooks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """SGLang's own hook registry, fresh and without the rest of SGLang."""
    path = f"{HOOK_REGISTRY.replace('.', '/')}.py"
    file = importlib.metadata.distribution("sglang").locate_file(path)
    spec = importlib.util.spec_from_file_location(HOOK_REGISTRY, str(file))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, HOOK_REGISTRY, module)
    return module


@pytest.fixture(autouse=True)
def upstream(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """What is patched."""
    module = types.ModuleType("upstream_module")
    exec(UPSTREAM, module.__dict__)
    monkeypatch.setitem(sys.modules, "upstream_module", module)
    return module


@pytest.fixture
def patch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Adds a patch of the upstream module; its name."""

    def add(target: str, **changes: Any) -> str:
        spec: dict[str, Any] = {
            "target": f"upstream_module.{target}",
            "hook_type": "around",
            "kind": KINDS.get(target, "function"),
            "parameters": ("number",),
            "build": build_adding_served,
            "reason": "a test",
            "drop_when": "never",
            **changes,
        }
        name = f"of_{target.replace('.', '_')}"
        module = types.ModuleType(f"cascadia_patches.{name}")
        module.PATCH = PatchSpec(**spec)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return name

    return add


def build_adding_served(served: int) -> Callable[..., Any]:
    """A hook that adds the served number to the last argument."""

    def add(original: Callable[..., Any], *arguments: Any) -> Any:
        *leading, number = arguments
        return original(*leading, number + served)

    return add


def call(upstream: types.ModuleType, target: str, number: int) -> int:
    """Call any of the upstream functions."""
    if target.startswith("Manager."):
        result: int = getattr(upstream.Manager(), target.removeprefix("Manager."))(number)
        return result
    function = getattr(upstream, target)
    if target == "coroutine":
        return asyncio.run(function(number))
    if target == "generator":
        return asyncio.run(first(function(number)))
    plain: int = function(number)
    return plain


async def first(items: AsyncIterator[int]) -> int:
    return await anext(items)


@pytest.mark.parametrize("target", KINDS)
def test_a_patch_of_every_kind_takes(
    target: str, patch: Callable[..., str], upstream: types.ModuleType
) -> None:
    apply_patches([patch(target)], 100)
    assert call(upstream, target, 5) == 105


def test_a_class_method_stays_one(patch: Callable[..., str], upstream: types.ModuleType) -> None:
    apply_patches([patch("Manager.of_class")], 100)
    assert upstream.Manager.of_class(5) == 105


def test_registering_twice_is_registering_once(
    patch: Callable[..., str], upstream: types.ModuleType, hooks: Any
) -> None:
    names = [patch("function")]
    register_patches(names, 100)
    register_patches(names, 100)
    apply_patches(names, 100)
    assert len(hooks.HookRegistry._hooks["upstream_module.function"]) == 1
    assert upstream.function(5) == 105


def test_the_first_object_served_stays_the_one(
    patch: Callable[..., str], upstream: types.ModuleType
) -> None:
    names = [patch("function")]
    apply_patches(names, 100)
    apply_patches(names, 200)
    assert upstream.function(5) == 105


def test_nothing_changes_before_hooks_are_applied(
    patch: Callable[..., str], upstream: types.ModuleType
) -> None:
    register_patches([patch("function")], 100)
    assert upstream.function(5) == 5


@pytest.mark.parametrize(
    ("target", "changes", "message"),
    [
        ("gone", {}, "upstream_module.gone does not exist in this SGLang"),
        ("Manager.gone", {}, "upstream_module.Manager.gone does not exist in this SGLang"),
        ("Gone.method", {}, "upstream_module.Gone.method does not exist in this SGLang"),
        ("gone.function", {}, "upstream_module.gone.function does not exist in this SGLang"),
        (
            "function",
            {"kind": "async function"},
            "upstream_module.function is a function in this SGLang, needed: async function",
        ),
        (
            "generator",
            {"kind": "async function"},
            "upstream_module.generator is a async generator in this SGLang, needed: async function",
        ),
        (
            "Manager.static",
            {"kind": "classmethod"},
            "upstream_module.Manager.static is a staticmethod in this SGLang, needed: classmethod",
        ),
        (
            "function",
            {"parameters": ("number", "unit", "base")},
            "upstream_module.function no longer takes base, unit",
        ),
        (
            "Manager.method",
            {"parameters": ("rid",)},
            "upstream_module.Manager.method no longer takes rid",
        ),
    ],
    ids=[
        "no-function",
        "no-method",
        "no-class",
        "no-module",
        "not-async",
        "generator",
        "not-of-class",
        "parameters",
        "method-parameter",
    ],
)
def test_a_target_that_differs_is_named_with_the_difference(
    target: str,
    changes: dict[str, Any],
    message: str,
    patch: Callable[..., str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL)  # SGLang logs and goes on
    with pytest.raises(PatchError) as raised:
        apply_patches([patch(target, **changes)], 100)
    assert str(raised.value) == message


def test_a_patch_that_was_registered_but_not_applied_did_not_take(
    patch: Callable[..., str],
) -> None:
    names = [patch("function")]
    register_patches(names, 100)
    with pytest.raises(PatchError, match=r"the patch of upstream_module.function did not take"):
        verify_patches(names)


def test_a_patch_that_comes_after_another_plugins_applied_hook_did_not_take(
    patch: Callable[..., str], hooks: Any
) -> None:
    """SGLang applies the hooks of a target once."""
    target = "upstream_module.function"
    hooks.HookRegistry.register(target, lambda *_: None, hooks.HookType.AFTER)
    hooks.HookRegistry.apply_hooks()
    with pytest.raises(PatchError, match=r"upstream_module.function did not take"):
        apply_patches([patch("function")], 100)


@pytest.mark.parametrize("ours_first", [True, False], ids=["ours-inside", "ours-outside"])
def test_a_patch_takes_beside_another_plugins_hook(
    ours_first: bool, patch: Callable[..., str], upstream: types.ModuleType, hooks: Any
) -> None:
    name, target = patch("function"), "upstream_module.function"
    if ours_first:
        register_patches([name], 100)
    hooks.HookRegistry.register(target, lambda result, *_: result * 2, hooks.HookType.AFTER)
    apply_patches([name], 100)
    assert upstream.function(5) == 210


def test_one_missing_patch_among_several_is_found(
    patch: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    with pytest.raises(PatchError, match=r"upstream_module.gone does not exist"):
        apply_patches([patch("function"), patch("gone"), patch("Manager.method")], 100)


IMPORTER = "upstream_importer"


@pytest.fixture
def importer(monkeypatch: pytest.MonkeyPatch, upstream: types.ModuleType) -> types.ModuleType:
    """A module that has imported the function by name."""
    module = types.ModuleType(IMPORTER)
    vars(module)["function"] = vars(upstream)["function"]
    monkeypatch.setitem(sys.modules, IMPORTER, module)
    return module


def test_a_module_that_imported_the_function_by_name_calls_the_hook(
    patch: Callable[..., str], importer: types.ModuleType
) -> None:
    apply_patches([patch("function", called_as=(f"{IMPORTER}.function",))], 100)
    assert vars(importer)["function"](5) == 105


def test_a_name_that_still_has_the_original_is_found(
    patch: Callable[..., str], upstream: types.ModuleType, importer: types.ModuleType
) -> None:
    name = patch("function", called_as=(f"{IMPORTER}.function",))
    original = vars(upstream)["function"]
    apply_patches([name], 100)
    vars(importer)["function"] = original
    with pytest.raises(PatchError, match=rf"the patch of {IMPORTER}\.function did not take"):
        verify_patches([name])


def test_a_module_that_is_not_loaded_is_not_verified(patch: Callable[..., str]) -> None:
    """It gets the hook with its import."""
    apply_patches([patch("function", called_as=("no_such_module.function",))], 100)
