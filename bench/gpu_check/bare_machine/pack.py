"""Builds the folder with what a bare CUDA machine lacks: SGLang's Python files, small libraries.

    python -m bench.gpu_check.bare_machine.pack [--out FOLDER]

Everything comes from the package index, for Python 3.12 on x86-64 Linux. Libraries that SGLang
imports by name and the checks never call stay out; `missing_modules` stands in for them.
"""

from __future__ import annotations

import argparse
import lzma
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from bench import ROOT

CARRIED = Path(__file__).with_name("carried.txt")
PYTHON = "3.12"
ARCHIVE = "site.tar.xz"
COMMIT = "commit"
MOST_BYTES = 40 * 10**6

_GLIBC = [f"manylinux_2_{minor}_x86_64" for minor in range(39, 4, -1)]
_PLATFORMS = [*_GLIBC, "manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]

# Below the unpacked folder; parts that neither the server nor a cascade imports.
_NOT_NEEDED = (
    "bin",
    "sglang/bench_one_batch_server.py",
    "sglang/benchmark",
    "sglang/multimodal_gen",
    "sglang/test",
    "sglang/srt/mem_cache/rust_tree_core/*.so",
    "sglang/srt/rust_extensions/*.so",
    "zstandard/_cffi*.so",
    "**/__pycache__",
)


def install(folder: Path) -> None:
    """Install what is carried into a folder, for the other machine's Python.

    Raises:
        SystemExit: if the index lacks one, or pip fails.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-compile", "--no-deps", "--only-binary=:all:", "--python-version", PYTHON]
    command += ["--implementation", "cp", "--target", str(folder)]
    for platform in _PLATFORMS:
        command += ["--platform", platform]
    command += ["--constraint", str(ROOT / "constraints.txt"), "--requirement", str(CARRIED)]
    if subprocess.run(command, check=False).returncode != 0:
        raise SystemExit("gpu-check-pack: pip could not fetch what is carried")


def prune(folder: Path) -> None:
    """Delete what is not needed.

    Raises:
        SystemExit: if a part to be left out is no longer there, so that the list stays true.
    """
    for pattern in _NOT_NEEDED:
        paths = sorted(folder.glob(pattern))
        if not paths and pattern != "**/__pycache__":
            raise SystemExit(f"gpu-check-pack: nothing is at {pattern}")
        for path in paths:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def compress(folder: Path, archive: Path) -> None:
    """Write a folder's files as one archive, in a fixed order and without times."""
    with (
        lzma.open(archive, "wb", preset=4) as out,
        tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = tarfile.TarInfo(str(path.relative_to(folder)))
            entry.size, entry.mode = path.stat().st_size, 0o644
            with path.open("rb") as file:
                tar.addfile(entry, file)


def build(folder: Path) -> int:
    """Write the folder anew; its size in bytes.

    Raises:
        SystemExit: if it cannot be built, or is larger than it may be.
    """
    with tempfile.TemporaryDirectory() as name:
        site = Path(name) / "site"
        install(site)
        prune(site)
        folder.mkdir(parents=True, exist_ok=True)
        compress(site, folder / ARCHIVE)
    (folder / COMMIT).write_text(_commit() + "\n")
    size_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size_bytes > MOST_BYTES:
        raise SystemExit(
            f"gpu-check-pack: {folder} has {size_bytes / 1e6:.1f} MB, "
            f"at most {MOST_BYTES / 1e6:.0f} MB may travel"
        )
    return size_bytes


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def main() -> None:
    """Build the folder and say how large it is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / ".gpu")
    options = parser.parse_args()
    size_bytes = build(options.out)
    print(f"{options.out}: {size_bytes / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
