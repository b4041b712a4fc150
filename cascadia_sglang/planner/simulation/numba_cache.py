"""How the simulator's inner loops are compiled, and when compiled code is too old."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])

# What a compiled function of the simulator may be made of.
_SOURCES = ("admission", "batching", "events", "numba_cache", "prefix_cache", "state", "stride")


def _stamp() -> str:
    """A digest of all sources: numba itself looks at a function's own file alone."""
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return digest.hexdigest()


STAMP = _stamp()


def cache_folder(name: str) -> Path | None:
    """A folder of the user's cache, shared by all checkouts and environments; None where nothing
    can be written there."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return _writable(Path(cache, "cascadia", name))


def _folder() -> Path | None:
    """Where compiled code is kept, by the sources alone. None where nothing can be written there;
    numba then finds a place."""
    folder = os.environ.get("NUMBA_CACHE_DIR")
    if folder:
        return _writable(Path(folder, STAMP[:16]))
    return cache_folder(f"compiled/{STAMP[:16]}")


def holds_compiled_code() -> bool:
    """Whether an earlier process has left compiled code of these sources."""
    return _FOLDER is not None and any(_FOLDER.glob("*.nbi"))


def _writable(folder: Path) -> Path | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return None
    return folder if os.access(folder, os.W_OK) else None


_FOLDER = _folder()


def compiled(function: F) -> F:
    """Compile a function of the simulator, once for all processes.

    No such function makes an array, so numba need not count who holds one. They run beside other
    threads.
    """
    made: Any = numba.njit(cache=True, error_model="numpy", nogil=True, _nrt=False)(function)
    cache: Any = getattr(made, "_cache", None)
    if hasattr(cache, "_cache_file"):
        # Code that was compiled with another version of what it calls is not taken up again.
        cache._cache_file._source_stamp = STAMP
        if _FOLDER is not None:
            cache._cache_path = str(_FOLDER)
            cache._cache_file._cache_path = str(_FOLDER)
            cache._cache_file._index_path = str(_FOLDER / cache._cache_file._index_name)
    result: F = made
    return result
