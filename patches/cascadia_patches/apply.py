"""Puts patches in force, and proves that they took.

SGLang logs and swallows whatever goes wrong while hooks are applied. So every patch is verified
afterwards: the target exists, is of the recorded kind, takes the recorded parameters, and calls
our hook.
"""

import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cascadia_patches.registry import load_patch
from cascadia_patches.spec import Kind
from cascadia_sglang.errors import PatchError


def register_patches(names: Sequence[str], served: Any = None) -> None:
    """Register patches with SGLang's hook registry, which applies them when it is next asked to.

    A second call with the same names does nothing: SGLang may load plugins more than once.
    """
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    for patch in map(load_patch, names):
        if patch.target in HookRegistry._hooks and any(
            _is_ours(hook) for _, hook, _ in HookRegistry._hooks[patch.target]
        ):
            continue
        hook = patch.build(served)
        hook.__cascadia_patch__ = patch.target  # type: ignore[attr-defined]
        HookRegistry.register(patch.target, hook, HookType(patch.hook_type))


def apply_patches(names: Sequence[str], served: Any = None) -> None:
    """Register, apply and verify.

    Raises:
        PatchError: if one of them did not take; nothing may be served then.
    """
    from sglang.srt.plugins.hook_registry import HookRegistry

    register_patches(names, served)
    HookRegistry.apply_hooks()
    verify_patches(names)


def verify_patches(names: Sequence[str]) -> None:
    """Check that each patch is in force.

    Raises:
        PatchError: one line that names the target and what differs.
    """
    for patch in map(load_patch, names):
        loaded = [name for name in patch.called_as if name.rpartition(".")[0] in sys.modules]
        for name in (patch.target, *loaded):
            if not any(_calls_ours(function) for function in _wrapped_chain(_find(name))):
                raise PatchError(f"the patch of {name} did not take")
        attribute = _find(patch.target)
        original = list(_wrapped_chain(attribute))[-1]
        kind = function_kind(original, attribute)
        if kind != patch.kind:
            raise PatchError(f"{patch.target} is a {kind} in this SGLang, needed: {patch.kind}")
        missing = set(patch.parameters) - set(inspect.signature(original).parameters)
        if missing:
            raise PatchError(f"{patch.target} no longer takes {', '.join(sorted(missing))}")


def function_kind(function: Any, attribute: Any) -> Kind:
    """Kind of a target: `attribute` as its owner holds it, `function` the plain function within."""
    if isinstance(attribute, classmethod):
        return "classmethod"
    if isinstance(attribute, staticmethod):
        return "staticmethod"
    if inspect.isasyncgenfunction(function):
        return "async generator"
    if inspect.iscoroutinefunction(function):
        return "async function"
    return "function"


def _find(target: str) -> Any:
    """The target as its owner's dict holds it, so that class and static methods show."""
    owner_path, _, name = target.rpartition(".")
    try:
        owner = pkgutil.resolve_name(owner_path)
        return vars(owner)[name]
    except (ImportError, AttributeError, KeyError) as error:
        raise PatchError(f"{target} does not exist in this SGLang") from error


def _wrapped_chain(attribute: Any) -> Iterator[Callable[..., Any]]:
    """The function and what it wraps, outermost first."""
    function = (
        attribute.__func__ if isinstance(attribute, classmethod | staticmethod) else attribute
    )
    while function is not None:
        yield function
        function = getattr(function, "__wrapped__", None)


def _calls_ours(function: Callable[..., Any]) -> bool:
    cells = getattr(function, "__closure__", None) or ()
    return any(_is_ours(cell.cell_contents) for cell in cells)


def _is_ours(hook: Any) -> bool:
    return hasattr(hook, "__cascadia_patch__")
