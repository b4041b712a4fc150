"""How the simulator's inner loops are compiled, and when compiled code is too old."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])

# What a compiled function of the simulator may be made of.
_SOURCES = ("admission", "batching", "compiled", "events", "prefix_cache", "world")


def _stamp() -> str:
    """A digest of all sources: numba itself looks at a function's own file alone."""
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return digest.hexdigest()


_STAMP = _stamp()


def compiled(function: F) -> F:
    """Compile a function of the simulator, once for all processes.

    No such function makes an array, so numba need not count who holds one.
    """
    made: Any = numba.njit(cache=True, error_model="numpy", _nrt=False)(function)
    # Code that was compiled with another version of what it calls is not taken up again.
    kept: Any = getattr(made, "_cache", None)
    if hasattr(kept, "_cache_file"):
        kept._cache_file._source_stamp = _STAMP
    result: F = made
    return result
