"""Stands in for compiled libraries that a bare CUDA machine lacks, so that SGLang can be imported.

SGLang imports their names at module level. A name can be read, subclassed and used as a decorator;
calling one that does real work gives another stand-in, which no computation accepts in place of a
tensor. The checks run on PyTorch's and Triton's own operators and call none of them.
"""

from __future__ import annotations

import importlib.machinery
import sys
import types
from collections.abc import Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from typing import Any

# Import names that the carried folder leaves out for their size.
LEFT_OUT = (
    "IPython",
    "cutlass",
    "deep_gemm",
    "quack",
    "sgl_kernel",
    "soundfile",
    "tilelang",
    "torch_memory_saver",
    "watchfiles",
)


class StandIn:
    """A name of a library that is not there."""

    def __init__(self, name: str) -> None:
        self.__dict__["name"] = name
        self.__dict__["__name__"] = name

    def __getattr__(self, name: str) -> StandIn:
        if name.startswith("__"):
            raise AttributeError(name)
        return StandIn(f"{self.name}.{name}")

    def __call__(self, *args: Any, **options: Any) -> Any:
        # As a decorator it leaves what it decorates as it is.
        if len(args) == 1 and callable(args[0]) and not options:
            return args[0]
        return StandIn(f"{self.name}()")

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return (object,)

    def __or__(self, other: object) -> Any:
        return object

    __ror__ = __or__

    def __getitem__(self, key: object) -> StandIn:
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return self is other


class _StandInModule(types.ModuleType):
    def __getattr__(self, name: str) -> StandIn:
        if name.startswith("__"):
            raise AttributeError(name)
        return StandIn(f"{self.__name__}.{name}")


class StandInFinder(MetaPathFinder, Loader):
    """Finds modules of libraries that nothing else on the path provides."""

    def __init__(self, names: Sequence[str] = LEFT_OUT) -> None:
        self._names = frozenset(names)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if name.partition(".")[0] not in self._names:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = _StandInModule(spec.name)
        module.__path__ = []
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        del module  # it answers for any name already


def install() -> None:
    """Let missing libraries be imported in this process; those that are there stay as they are."""
    if not any(isinstance(finder, StandInFinder) for finder in sys.meta_path):
        sys.meta_path.append(StandInFinder())
