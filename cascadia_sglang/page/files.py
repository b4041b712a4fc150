"""The files of the page, as they lie in this package; nothing is asked of another server."""

import functools
import hashlib
from dataclasses import dataclass
from importlib import resources

INDEX = "index.html"
# All of them together, in bytes; a test looks.
MOST_BYTES = 200_000

_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFile:
    """A file with its media type, and a tag that changes with its content."""

    content: bytes
    media_type: str
    etag: str


@functools.cache
def page_files() -> dict[str, PageFile]:
    """All files by their path within the page's folder."""
    root = resources.files("cascadia_sglang.page") / "static"
    files = {}
    for folder in ("", "vendor/"):
        directory = root / folder if folder else root
        for entry in directory.iterdir():
            if entry.is_file():
                content = entry.read_bytes()
                files[f"{folder}{entry.name}"] = PageFile(
                    content=content,
                    media_type=_TYPES[entry.name.rpartition(".")[2]],
                    etag=f'"{hashlib.blake2b(content, digest_size=8).hexdigest()}"',
                )
    return files
