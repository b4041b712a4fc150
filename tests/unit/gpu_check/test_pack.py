"""What travels to a bare CUDA machine, and how it is unpacked there."""

import sys
import tarfile
import tomllib
from importlib.metadata import Distribution
from pathlib import Path

import pytest

from bench import ROOT
from bench.gpu_check.bare_machine import environment, pack
from bench.gpu_check.bare_machine.missing_modules import LEFT_OUT, StandInFinder


def packed(folder: Path, files: dict[str, str]) -> Path:
    """A pack of these files."""
    site = folder / "site"
    for name, text in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    folder.joinpath("pack").mkdir()
    pack.compress(site, folder / "pack" / pack.ARCHIVE)
    return folder / "pack"


def test_an_archive_is_the_same_for_the_same_files(tmp_path: Path) -> None:
    archives = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        archives.append(packed(tmp_path / name, {"a/b.py": "b = 1", "c.py": ""}) / pack.ARCHIVE)
    assert archives[0].read_bytes() == archives[1].read_bytes()
    with tarfile.open(archives[0]) as tar:
        assert tar.getnames() == ["a/b.py", "c.py"]


def test_unpacking_makes_this_checkouts_plugin_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = packed(tmp_path, {"sglang/__init__.py": ""})
    site = environment.site_of(folder)
    for _ in range(2):  # a second run finds it there
        environment.unpack(folder, site)
    assert (site / "sglang/__init__.py").exists()
    entry_points = {
        (point.group, point.name): point.value
        for path in site.glob("*.dist-info")
        for point in Distribution.at(path).entry_points
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for group, entries in project["entry-points"].items():
        for name, value in entries.items():
            assert entry_points[group, name] == value
    platform = entry_points["sglang.srt.platforms", "cascadia_gpu_check"]
    assert platform == "bench.gpu_check.bare_machine.native_platform:activate"


def test_a_pack_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def install(folder: Path) -> None:
        folder.mkdir()
        (folder / "large.py").write_text("x = 1\n" * 1000)

    monkeypatch.setattr(pack, "install", install)
    monkeypatch.setattr(pack, "prune", lambda _: None)
    monkeypatch.setattr(pack, "MOST_BYTES", 100)
    with pytest.raises(SystemExit, match="at most 0 MB may travel"):
        pack.build(tmp_path / "pack")


def test_a_part_to_leave_out_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="nothing is at bin"):
        pack.prune(tmp_path)


def test_what_is_carried_is_pinned() -> None:
    pins = {line.partition("==")[0].lower() for line in ROOT.joinpath("constraints.txt").open()}
    lines = pack.CARRIED.read_text().splitlines()
    carried = {line.lower() for line in lines if line and not line.startswith("#")}
    same = {name.replace("-", "_") for name in pins}
    assert {name for name in carried if name.replace("-", "_") not in same} == set()


def test_a_stand_in_is_imported_read_and_used_as_a_decorator() -> None:
    finder = StandInFinder(("no_such_library",))
    sys.meta_path.append(finder)
    try:
        import no_such_library.kernels as kernels  # type: ignore[import-not-found]

        @kernels.registered
        def decorated() -> int:
            return 3

        class Derived(kernels.Base):
            pass

        assert decorated() == 3
        assert issubclass(Derived, object)
        with pytest.raises(AttributeError):
            _ = kernels.__version__
    finally:
        sys.meta_path.remove(finder)
        for name in ("no_such_library", "no_such_library.kernels"):
            sys.modules.pop(name, None)


def test_no_stand_in_hides_a_carried_library() -> None:
    carried = {line.strip().replace("-", "_") for line in pack.CARRIED.open()}
    assert set(LEFT_OUT) & carried == set()
