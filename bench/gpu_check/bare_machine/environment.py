"""Where the carried libraries are unpacked, and what a stage's process needs to find them."""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path

from bench import ROOT
from bench.gpu_check.bare_machine.pack import ARCHIVE
from cascadia_sglang.version import __version__

_HOOKS = """[sglang.srt.platforms]
cascadia_gpu_check = bench.gpu_check.bare_machine.native_platform:activate

[sglang.srt.plugins]
cascadia_gpu_check = bench.gpu_check.bare_machine.worker_hooks:register
"""
_STAND_INS = "from bench.gpu_check.bare_machine.missing_modules import install\n\ninstall()\n"


def site_of(pack: Path) -> Path:
    """The folder that a pack is unpacked into; named by the pack's content.

    Raises:
        FileNotFoundError: if there is no pack.
    """
    digest = hashlib.sha256((pack / ARCHIVE).read_bytes()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"cascadia-gpu-check-{digest}"


def unpack(pack: Path, site: Path) -> None:
    """Unpack what is carried, and make this checkout's plugin known beside it."""
    if not site.is_dir():
        # Under another name first: a folder of this name is whole.
        name = tempfile.mkdtemp(dir=site.parent, prefix=f"{site.name}-")
        with tarfile.open(pack / ARCHIVE) as tar:
            tar.extractall(name, filter="data")
        os.rename(name, site)
    (site / "sitecustomize.py").write_text(_STAND_INS)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {target}" for name, target in entries.items())])
        for group, entries in project["entry-points"].items()
    ]
    write_distribution(site, project["name"], __version__, "\n\n".join(groups) + "\n")
    write_distribution(site, "cascadia-gpu-check", __version__, _HOOKS)


def write_distribution(site: Path, name: str, version: str, entry_points: str) -> None:
    """Make entry points known as those of an installed package."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / "entry_points.txt").write_text(entry_points)


def variables(site: Path | None, *, interprets: bool) -> dict[str, str]:
    """The environment of a stage's process.

    Args:
        site: of the unpacked libraries; None where there is no pack.
        interprets: whether Triton's kernels run through its interpreter.
    """
    folders = [ROOT, ROOT / "kernels", ROOT / "patches"]
    path = [str(folder) for folder in ([site, *folders] if site else folders)]
    variables: Mapping[str, str] = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        **({"TRITON_INTERPRET": "1"} if interprets else {}),
    }
    return dict(variables)
