"""What compiled code is made of, and the user's folders for what can be made anew."""

import hashlib
import os
from pathlib import Path

# Modules that the compiled events are made of, and those that say how.
_SOURCES = (
    "admission",
    "batching",
    "code_stamp",
    "compiled",
    "events",
    "machine_code",
    "prefix_cache",
    "state",
    "stride",
)


def _stamp() -> str:
    """A digest of all sources."""
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return digest.hexdigest()


STAMP = _stamp()


def cache_folder(name: str) -> Path | None:
    """A folder of the user's cache, shared by all checkouts and environments; None where nothing
    can be written there."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return writable(Path(cache, "cascadia", name))


def writable(folder: Path) -> Path | None:
    """The folder, made where it is missing; None where nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return None
    return folder if os.access(folder, os.W_OK) else None
