"""Reads SGLang's source without importing it: as it is installed, or in a wheel."""

from __future__ import annotations

import ast
import importlib.metadata
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Definition:
    """What a dotted path names in SGLang's source.

    Attributes:
        module: in which it is defined.
        node: a function, a class, or the statement that gives the name its value.
    """

    module: str
    node: ast.stmt


@dataclass(frozen=True)
class Signature:
    """How a function is called.

    Attributes:
        kind: as in `PatchSpec.kind`.
        parameters: in order, without `self` or `cls`.
        takes_any: whether it takes keywords that the source does not name.
    """

    kind: str
    parameters: list[str]
    takes_any: bool = False


class Source:
    """The modules of one SGLang release."""

    def __init__(self, read: Callable[[str], str | None]) -> None:
        """`read` gives the text of a file by its path; None where there is none."""
        self._read = read
        self._modules: dict[str, ast.Module | None] = {}

    def find(self, dotted: str) -> Definition | None:
        """What this path names, imports and base classes followed; None where it names nothing."""
        parts = dotted.split(".")
        for split in range(len(parts) - 1, 0, -1):
            module = ".".join(parts[:split])
            if self.module(module) is not None:
                found = self._name(module, parts[split])
                for member in parts[split + 1 :]:
                    found = None if found is None else self.member(found, member)
                return found
        return None

    def member(self, owner: Definition, name: str) -> Definition | None:
        """What a class has under this name: of its own, set in its methods, or of its bases."""
        if not isinstance(owner.node, ast.ClassDef):
            return None
        for node in _statements(owner.node.body):
            if name in _names(node):
                return Definition(owner.module, node)
        for function in owner.node.body:
            if isinstance(function, FunctionNode) and name in _set_on_self(function):
                return Definition(owner.module, function)
        for base in self._bases(owner):
            found = self.member(base, name)
            if found is not None:
                return found
        return None

    def is_closed(self, owner: Definition) -> bool:
        """Whether all bases of a class can be read, so that it has no member that is not found."""
        return isinstance(owner.node, ast.ClassDef) and len(self._bases(owner)) == sum(
            ast.unparse(base) not in ("object", "ABC", "Protocol", "Enum", "IntEnum")
            for base in owner.node.bases
        )

    def signature(self, found: Definition) -> Signature | None:
        """How a function, or a class with its fields or `__init__`, is called."""
        if isinstance(found.node, FunctionNode):
            return _signature(found.node)
        if not isinstance(found.node, ast.ClassDef):
            return None
        init = self.member(found, "__init__")
        if init is not None and isinstance(init.node, FunctionNode):
            return _signature(init.node)
        return Signature("function", self._fields(found), not self.is_closed(found))

    def module(self, dotted: str) -> ast.Module | None:
        """A module of this name; None where there is none."""
        if dotted not in self._modules:
            path = dotted.replace(".", "/")
            text = self._read(f"{path}.py") or self._read(f"{path}/__init__.py")
            self._modules[dotted] = None if text is None else _parsed(text)
        return self._modules[dotted]

    def _name(
        self, module: str, name: str, asked: frozenset[str] = frozenset()
    ) -> Definition | None:
        tree = self.module(module)
        if tree is None or module in asked:
            return None
        imports = []
        for node in _statements(tree.body):
            if name in _names(node):
                return Definition(module, node)
            if isinstance(node, ast.ImportFrom) and not node.level:
                imports += [
                    (node, one) for one in node.names if one.name == "*" or name in _new(one)
                ]
        for node, alias in imports:
            found = self._imported(module, node, name if alias.name == "*" else alias.name, asked)
            if found is not None:
                return found
        return None

    def _imported(
        self, importer: str, node: ast.ImportFrom, name: str, asked: frozenset[str]
    ) -> Definition | None:
        source = str(node.module)
        if source.partition(".")[0] != "sglang":
            return None if node.names[0].name == "*" else Definition(importer, node)
        found = self._name(source, name, asked | {importer})
        if found is None and self.module(f"{source}.{name}") is not None:
            return Definition(importer, node)
        return found

    def _bases(self, owner: Definition) -> list[Definition]:
        assert isinstance(owner.node, ast.ClassDef)
        found = [self._name(owner.module, ast.unparse(base)) for base in owner.node.bases]
        return [one for one in found if one is not None and isinstance(one.node, ast.ClassDef)]

    def _fields(self, owner: Definition) -> list[str]:
        assert isinstance(owner.node, ast.ClassDef)
        inherited = [name for base in self._bases(owner) for name in self._fields(base)]
        own = [
            node.target.id
            for node in owner.node.body
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        ]
        return [*inherited, *own]


@cache
def _parsed(text: str) -> ast.Module:
    """Of a file, which several releases may have."""
    return ast.parse(text)


@cache
def installed() -> Source:
    """The release that this environment has."""
    root = Path(str(importlib.metadata.distribution("sglang").locate_file("")))

    def read(path: str) -> str | None:
        file = root / path
        return file.read_text(encoding="utf-8") if file.is_file() else None

    return Source(read)


def in_wheel(wheel: Path) -> Source:
    """The release that a wheel has."""
    archive = zipfile.ZipFile(wheel)
    names = frozenset(archive.namelist())

    def read(path: str) -> str | None:
        return archive.read(path).decode("utf-8") if path in names else None

    return Source(read)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """A body's statements, those below conditions included."""
    for node in body:
        yield node
        for field in ("body", "orelse", "handlers", "finalbody"):
            if isinstance(node, ast.If | ast.Try | ast.With | ast.ExceptHandler):
                yield from _statements(getattr(node, field, []))


def _names(node: ast.stmt) -> set[str]:
    """The names that a statement defines, or imports as modules."""
    if isinstance(node, FunctionNode | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import):
        return {name for alias in node.names for name in _new(alias)}
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}


def _new(alias: ast.alias) -> set[str]:
    """The name that an import brings."""
    return {alias.asname or alias.name}


def _set_on_self(function: FunctionNode) -> set[str]:
    return {
        node.attr
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


def _signature(node: FunctionNode) -> Signature:
    decorators = {d.id for d in node.decorator_list if isinstance(d, ast.Name)}
    arguments = node.args
    parameters = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    if "staticmethod" not in decorators and parameters[:1] in (["self"], ["cls"]):
        parameters = parameters[1:]
    return Signature(_kind(node, decorators), parameters, arguments.kwarg is not None)


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
