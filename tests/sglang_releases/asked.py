"""What the packages ask of SGLang, read from their own source.

That is every name that they import or give as a string, every member of SGLang's classes that they
use or override, and every keyword that they call SGLang's functions with. The patches ask for
their targets besides.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from cascadia_patches.registry import ALL_PATCHES, load_patch
from cascadia_patches.spec import PatchSpec
from tests.repo.source import product_files
from tests.sglang_releases.source import FunctionNode, Source, installed

_PACKAGES = ("cascadia_sglang", "cascadia_kernels", "cascadia_patches")
_DOTTED = re.compile(r"sglang(\.\w+)+")


@dataclass(frozen=True)
class Asked:
    """Dotted paths below `sglang`.

    Attributes:
        names: that are imported; the plugin does not start without them.
        members: of classes and modules, and names that stand in strings.
        keywords: by function or class.
    """

    names: set[str] = field(default_factory=set)
    members: set[str] = field(default_factory=set)
    keywords: dict[str, set[str]] = field(default_factory=dict)


@cache
def asked() -> Asked:
    """What is asked, as far as the installed release has it.

    Not every attribute can be traced to a class. What the installed release has not, another one
    is not asked for, except for imports.
    """
    found = Asked()
    targets = {load_patch(name).target for name in ALL_PATCHES}
    for source in product_files():
        if source.module.split(".")[0] not in _PACKAGES:
            continue
        names = _imported(source.tree)
        found.names.update(names.values())
        found.members.update(_members(source.tree, names))
        found.members.update(_in_strings(source.tree) - targets)
        for function, keywords in _keywords(source.tree, names):
            found.keywords.setdefault(function, set()).update(keywords)
    here = installed()
    found.members.intersection_update({member for member in found.members if _has(here, member)})
    for function, keywords in found.keywords.items():
        keywords -= set(_unknown(here, function, keywords))
    return found


def unmet(source: Source) -> list[str]:
    """What is asked and a release has not, patches included, in the order of the names."""
    wants = asked()
    missing = {name for name in wants.names | wants.members if not _has(source, name)}
    # Of what is missing, its members are missing too.
    lines = {name for name in missing if not any(name.startswith(f"{other}.") for other in missing)}
    for function, keywords in wants.keywords.items():
        if _has(source, function):
            lines.update(f"{function}({one}=)" for one in _unknown(source, function, keywords))
    for patch in map(load_patch, ALL_PATCHES):
        lines.update(patch_problems(patch, source))
    return sorted(lines)


def patch_problems(patch: PatchSpec, source: Source) -> list[str]:
    """Why a patch would not take, or would get other arguments than its hook expects."""
    target = source.find(patch.target)
    signature = None if target is None else source.signature(target)
    if target is None or signature is None or not isinstance(target.node, FunctionNode):
        return [patch.target]
    problems = []
    if signature.kind != patch.kind:
        problems.append(f"{patch.target} is a {signature.kind}, needed: {patch.kind}")
    recorded = [name for name in signature.parameters if name in patch.parameters]
    if recorded != list(patch.parameters):
        problems.append(f"{patch.target} takes {', '.join(signature.parameters)}")
    # A hook gets the arguments as SGLang's callers give them, mostly by position.
    own = hook_parameters(patch)
    names = [one.name.removeprefix("_") for one in own if one.kind is one.POSITIONAL_OR_KEYWORD]
    if names != signature.parameters[: len(names)]:
        problems.append(f"the hook of {patch.target} takes {', '.join(names)} in this order")
    takes_more = any(one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) for one in own)
    if not takes_more and len(own) != len(signature.parameters):
        problems.append(f"the hook of {patch.target} does not take all arguments")
    return problems


def hook_parameters(patch: PatchSpec) -> list[inspect.Parameter]:
    """What a patch's hook takes of the target's own arguments."""
    parameters = list(inspect.signature(patch.build(None)).parameters.values())
    leading = 0 if patch.hook_type == "before" else 1
    is_bound = patch.target.split(".")[-2][:1].isupper() and patch.kind != "staticmethod"
    return parameters[leading + is_bound :]


def _has(source: Source, dotted: str) -> bool:
    return source.module(dotted) is not None or source.find(dotted) is not None


def _unknown(source: Source, function: str, keywords: set[str]) -> list[str]:
    """Keywords that a function does not take; all where its signature cannot be read."""
    found = source.find(function)
    signature = None if found is None else source.signature(found)
    if signature is None:
        return sorted(keywords)
    return [] if signature.takes_any else sorted(keywords - set(signature.parameters))


def _imported(tree: ast.Module) -> dict[str, str]:
    """Names that a module imports of SGLang, with their paths."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "sglang":
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "sglang":
                    names[alias.asname or alias.name] = alias.name
    return names


def _members(tree: ast.Module, names: dict[str, str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            path = _path(node, names)
            if path is not None:
                yield path
        elif isinstance(node, ast.ClassDef):
            for base in node.bases:
                path = _path(base, names)
                for method in node.body if path is not None else ():
                    if isinstance(method, FunctionNode):
                        yield f"{path}.{method.name}"
        elif isinstance(node, FunctionNode):
            yield from _of_parameters(node, names)


def _of_parameters(function: FunctionNode, names: dict[str, str]) -> Iterator[str]:
    """Members of the parameters whose annotation is one class of SGLang."""
    typed = {}
    arguments = function.args
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        path = _annotated(argument.annotation, names)
        if path is not None:
            typed[argument.arg] = path
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute):
            owner = _path(node.value, typed) if isinstance(node.value, ast.Name) else None
            if owner is not None:
                yield f"{owner}.{node.attr}"


def _annotated(annotation: ast.expr | None, names: dict[str, str]) -> str | None:
    """The class of an annotation, also of one in quotes or with None beside it."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if isinstance(annotation, ast.BinOp):
        sides = (annotation.left, annotation.right)
        classes = [side for side in sides if ast.unparse(side) != "None"]
        annotation = classes[0] if len(classes) == 1 else None
    return None if annotation is None else _path(annotation, names)


def _keywords(tree: ast.Module, names: dict[str, str]) -> Iterator[tuple[str, set[str]]]:
    for node in ast.walk(tree):
        path = _path(node.func, names) if isinstance(node, ast.Call) else None
        if isinstance(node, ast.Call) and path is not None:
            yield path, {keyword.arg for keyword in node.keywords if keyword.arg is not None}


def _path(node: ast.expr, names: dict[str, str]) -> str | None:
    """The path of an expression such as `Imported.member`; None of any other."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _path(node.value, names)
        return None if owner is None else f"{owner}.{node.attr}"
    return None


def _in_strings(tree: ast.Module) -> set[str]:
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and _DOTTED.fullmatch(node.value)
    }
