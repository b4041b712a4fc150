"""Unpacks what is carried, writes down the machine and versions, and imports what a worker does."""

from __future__ import annotations

import compileall
import json
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench import ROOT
from bench.gpu_check.bare_machine.environment import site_of, unpack
from bench.gpu_check.results import Check

PACKAGES = ("torch", "triton", "transformers", "tokenizers", "numba", "numpy", "pytest")
TOOLS = ("nvcc", "ncu", "compute-sanitizer", "nvidia-smi")


def run(check: Check, pack: Path) -> bool:
    """Leave the other stages a folder from which SGLang is imported."""
    check.note(
        "machine",
        python=platform.python_version(),
        architecture=platform.machine(),
        card=check.facts.machine,
        commit=check.facts.commit,
        tools={name: shutil.which(name) for name in TOOLS},
        versions={name: _version(name) for name in PACKAGES},
    )
    if shutil.which("nvidia-smi"):
        query = "name,driver_version,memory.total,memory.used,clocks.sm,clocks.mem"
        card = subprocess.run(
            ["nvidia-smi", f"--query-gpu={query}", "--format=csv"],
            capture_output=True,
            text=True,
            check=False,
        )
        check.note("card", said=card.stdout.strip() or card.stderr.strip())
    fits = sys.version_info[:2] == (3, 12) and platform.machine() == "x86_64"
    check.passes("Python 3.12 on x86-64, as what is carried needs", fits)
    site = site_of(pack)
    unpack(pack, site)
    if not check.dry:
        # With all cores, before several servers would do it at once. A second time it is nothing.
        compileall.compile_dir(site, quiet=2, workers=0)
    command = [sys.executable, "-m", "bench.gpu_check.bare_machine.imports"]
    done = subprocess.run(
        [*command, *(["--faked-card"] if check.dry else [])],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=check.left_s(),
    )
    lines = done.stdout.strip().splitlines()
    report = json.loads(lines[-1]) if done.returncode == 0 and lines else {}
    failed = report.get("failed")
    imported = check.passes("a worker's modules are imported", failed == {}, failed=failed)
    check.number("SGLang, Cascadia", "cold", "import", "s", report.get("import_s", 0.0))
    settings = report.get("resolved", {})
    resolves = check.passes(
        "SGLang resolves the flags to native operators, Triton's attention, and graphs",
        settings.get("device") == "cuda"
        and "triton" in str(settings.get("attention"))
        and settings.get("sampling") == "pytorch",
        **(settings or {"error": report.get("resolver_error")}),
    )
    return fits and imported and resolves


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
