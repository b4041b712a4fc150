"""What is installed, and what must not be importable from a checkout."""

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from setuptools import find_packages

from cascadia_sglang import __version__
from tests.repo.source import ROOT, product_files


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def packages_to_install(project: dict[str, Any]) -> set[str]:
    find = project["tool"]["setuptools"]["packages"]["find"]
    return {
        name
        for where in find["where"]
        for name in find_packages(str(ROOT / where), include=find["include"])
    }


def test_every_package_of_the_mapping_is_installed(project: dict[str, Any]) -> None:
    mapping = project["tool"]["setuptools"]["package-dir"]
    assert mapping.keys() <= packages_to_install(project)
    for name, folder in mapping.items():
        assert (ROOT / folder / "__init__.py").is_file(), name


def test_every_package_carries_its_types(project: dict[str, Any]) -> None:
    data = project["tool"]["setuptools"]["package-data"]
    for name, folder in project["tool"]["setuptools"]["package-dir"].items():
        assert "py.typed" in data[name]
        assert (ROOT / folder / "py.typed").is_file()


def test_the_version_is_written_once(project: dict[str, Any]) -> None:
    """Its place can be read without an import, as the build does."""
    assert "version" in project["project"]["dynamic"]
    attribute = project["tool"]["setuptools"]["dynamic"]["version"]["attr"]
    assert attribute == "cascadia_sglang.version.__version__"
    text = (ROOT / "cascadia_sglang" / "version.py").read_text()
    assert f'__version__ = "{__version__}"' in text


def test_every_module_lies_in_an_installed_package(project: dict[str, Any]) -> None:
    """A folder without `__init__.py` would be missing in the wheel."""
    installed = packages_to_install(project)
    homes = {
        source.module if source.path.name == "__init__.py" else source.module.rpartition(".")[0]
        for source in product_files()
        if not source.module.startswith(("bench", "demo"))
    }
    assert homes == installed


def test_a_package_is_found_in_this_checkout(project: dict[str, Any]) -> None:
    for name, folder in project["tool"]["setuptools"]["package-dir"].items():
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        assert Path(spec.origin).parent == ROOT / folder


def defines(target: str) -> bool:
    """Whether `module:function` is there."""
    module, _, name = target.partition(":")
    sources = [source for source in product_files() if source.module == module]
    return any(getattr(node, "name", "") == name for source in sources for node in source.tree.body)


def test_every_entry_point_names_a_function(project: dict[str, Any]) -> None:
    groups = project["project"]["entry-points"]
    targets = [target for group in groups.values() for target in group.values()]
    assert len(targets) == 3
    assert [target for target in targets if not defines(target)] == []


def test_every_command_names_a_function(project: dict[str, Any]) -> None:
    targets = project["project"].get("scripts", {}).values()
    assert [target for target in targets if not defines(target)] == []


@pytest.mark.parametrize("folder", ["kernels", "patches", "tests/kernels", "tests/patches"])
def test_a_folder_named_as_anothers_package_is_none_itself(folder: str) -> None:
    assert (ROOT / folder).is_dir()
    assert not (ROOT / folder / "__init__.py").exists()


def test_no_module_is_named_as_anothers_package() -> None:
    last = {source.module.rpartition(".")[2] for source in product_files()}
    assert not last & {"kernels", "patches"}


def test_kernels_stays_the_registrys_package_in_the_repository_root() -> None:
    """SGLang and transformers import it; a shadow would change their attention paths silently."""
    script = "import kernels; from kernels import get_kernel; print(kernels.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "site-packages" in done.stdout
    assert not Path(done.stdout.strip()).is_relative_to(ROOT / "kernels")
