"""Reads SGLang's functions from its installed files, without importing them."""

import ast
import importlib.metadata
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Target:
    """What a dotted path names in SGLang's source.

    Attributes:
        kind: as in `PatchSpec.kind`.
        parameters: in order, without `self` or `cls`.
    """

    kind: str
    parameters: list[str]


def find(dotted: str) -> Target | None:
    """The function of this dotted path, None where there is none."""
    parts = dotted.split(".")
    for split in range(len(parts) - 1, 0, -1):
        tree = _module(".".join(parts[:split]))
        if tree is not None:
            return _in_body(tree.body, parts[split:])
    return None


def _in_body(body: list[ast.stmt], names: list[str]) -> Target | None:
    name, *rest = names
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name == name and rest:
            return _in_body(node.body, rest)
        if isinstance(node, FunctionNode) and node.name == name and not rest:
            return _target(node)
    return None


def _target(node: FunctionNode) -> Target:
    decorators = {d.id for d in node.decorator_list if isinstance(d, ast.Name)}
    arguments = node.args
    parameters = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    if "staticmethod" not in decorators and parameters[:1] in (["self"], ["cls"]):
        parameters = parameters[1:]
    return Target(kind=_kind(node, decorators), parameters=parameters)


def _kind(node: FunctionNode, decorators: set[str]) -> str:
    for kind in ("classmethod", "staticmethod"):
        if kind in decorators:
            return kind
    if isinstance(node, ast.FunctionDef):
        return "function"
    return "async generator" if _yields(node) else "async function"


def _yields(node: FunctionNode) -> bool:
    """Whether the function itself yields, not one defined in it."""
    waiting: list[ast.AST] = list(node.body)
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(inner))
    return False


@cache
def _module(dotted: str) -> ast.Module | None:
    distribution = importlib.metadata.distribution("sglang")
    path = Path(str(distribution.locate_file(dotted.replace(".", "/"))))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return ast.parse(file.read_text(encoding="utf-8"))
    return None
