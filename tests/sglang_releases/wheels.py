"""SGLang's wheels, each downloaded once; they are read, never installed.

python -m tests.sglang_releases.wheels 0.5.22     # unpacks one; prints the folder
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# One platform's wheel for every machine that reads it: the Python files are the same in all.
_PLATFORM = ("--platform", "manylinux_2_34_x86_64", "--python-version", "3.11")
_LIMIT_S = 240


class NoNetworkError(Exception):
    """The package index cannot be reached."""


def cache_folder() -> Path:
    """Where the wheels lie, on every machine of the user."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "cascadia" / "wheels"


def wheel_of(version: str) -> Path:
    """The wheel of a release, downloaded where it is not there yet.

    Raises:
        NoNetworkError: if it is not there and the package index cannot be reached.
        ValueError: with what pip says, if the index has no such release.
    """
    folder = cache_folder()
    for wheel in folder.glob(f"sglang-{version}-*.whl"):
        return wheel
    folder.mkdir(parents=True, exist_ok=True)
    # What an interrupted download leaves is no wheel.
    with tempfile.TemporaryDirectory(dir=folder) as partial:
        _download(version, Path(partial))
        (wheel,) = Path(partial).glob("*.whl")
        return wheel.rename(folder / wheel.name)


def unpacked(version: str) -> Path:
    """A folder with the release, to stand before the environment's own in PYTHONPATH."""
    folder = cache_folder() / f"sglang-{version}"
    if not folder.is_dir():
        partial = folder.with_name(f"{folder.name}.partial")
        zipfile.ZipFile(wheel_of(version)).extractall(partial)
        partial.rename(folder)
    return folder


def _download(version: str, folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--only-binary", ":all:", "--retries", "1", "--timeout", "20"]
    done = subprocess.run(
        [*pip, *options, *_PLATFORM, "--dest", str(folder), f"sglang=={version}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=_LIMIT_S,
    )
    if done.returncode == 0:
        return
    # pip says the same of a release that is not there and of an index that is not; but it first
    # tries the latter again.
    if "Retrying (" in done.stderr or "Retrying (" in done.stdout:
        raise NoNetworkError("the package index cannot be reached")
    raise ValueError(f"sglang {version}: {done.stderr.strip()[-2000:]}")


if __name__ == "__main__":
    print(unpacked(sys.argv[1]))
