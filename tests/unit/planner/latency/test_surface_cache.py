"""Surfaces on disk: read again for equal inputs, at any rate, and built anew for others."""

import ast
import dataclasses
import os
from pathlib import Path

import msgspec
import numpy as np
import pytest

import cascadia_sglang.planner
from cascadia_sglang.planner.latency import build_surfaces as building
from cascadia_sglang.planner.latency import surface_cache
from cascadia_sglang.planner.latency.build_surfaces import (
    SurfaceJob,
    TierLengths,
    known_surface,
    normalised,
)
from cascadia_sglang.planner.latency.shapes import shapes_of_pools
from cascadia_sglang.planner.latency.surface_cache import drop_oldest, surface_key
from cascadia_sglang.planner.progress import JobRunner
from cascadia_sglang.planner.simulation import code_stamp
from cascadia_sglang.planner.workload.source import load_workload
from cascadia_sglang.planner.workload.workload import build_workload, poisson_arrivals_s
from tests.unit.planner.whole_problems import made_shape, workload_problem

LOAD = build_workload(poisson_arrivals_s(3.0, 40, 1), [50] * 40, [10] * 40)


@pytest.fixture
def built(tmp_path, monkeypatch):
    """How many surfaces were built, with a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    count = []

    def build(job):
        count.append(job)
        return surface_of(job)

    surface_of = building.surface_of
    monkeypatch.setattr(building, "surface_of", build)
    return count


def _job(load=LOAD, **changes):
    shape = made_shape(1)
    return SurfaceJob(
        workload=normalised(load), shape=shape, lengths=TierLengths(length=1.0, **changes)
    )


def test_equal_inputs_are_built_once_at_any_rate(built):
    first = known_surface(_job())
    again = known_surface(_job(LOAD.at_rate(17.0)))
    assert len(built) == 1
    assert again.saturation_per_s == first.saturation_per_s
    for name in ("rates_per_s_G", "p95_s_G", "mean_s_G"):
        assert np.array_equal(getattr(again, name), getattr(first, name))
    known_surface(_job(draft_length=1.0, kept_share=0.5))
    assert len(built) == 2


def test_a_file_that_is_broken_is_built_anew(built, tmp_path):
    known_surface(_job())
    (file,) = (tmp_path / "cascadia" / "surfaces").iterdir()
    file.write_bytes(b"\x00broken")
    known_surface(_job())
    assert len(built) == 2
    known_surface(_job())
    assert len(built) == 2


def test_without_a_folder_every_surface_is_built(built, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    known_surface(_job())
    known_surface(_job())
    assert len(built) == 2


def test_whatever_a_surface_follows_from_is_in_its_key():
    shape, answers = made_shape(1), (1.0, 0.0, None)
    keys = {
        surface_key(LOAD, shape, answers),
        surface_key(LOAD.part(0, 39), shape, answers),
        surface_key(LOAD, dataclasses.replace(shape, pp=2), answers),
        surface_key(LOAD, shape, (2.0, 0.0, None)),
        surface_key(
            LOAD,
            dataclasses.replace(
                shape, limits=msgspec.structs.replace(shape.limits, kv_tokens=19_999)
            ),
            answers,
        ),
        surface_key(
            LOAD,
            dataclasses.replace(
                shape, times=msgspec.structs.replace(shape.times, prefill_row_ms=0.1)
            ),
            answers,
        ),
    }
    assert len(keys) == 6


def _used_modules(path: Path, root: Path) -> set[str]:
    """The planner's modules that a file imports, and those that they import."""
    modules: set[str] = set()
    remaining = [path]
    while remaining:
        for node in ast.walk(ast.parse(remaining.pop().read_text())):
            if not isinstance(node, ast.ImportFrom) or node.module is None:
                continue
            name = node.module.removeprefix("cascadia_sglang.planner.")
            used = f"{name.replace('.', '/')}.py"
            if name != node.module and used not in modules:
                modules.add(used)
                remaining.append(root / used)
    return modules


def test_every_module_that_makes_a_surface_is_in_its_key():
    """A surface of older code must not be read again."""
    root = Path(cascadia_sglang.planner.__file__).parent
    used = _used_modules(root / "latency" / "surfaces.py", root)
    compiled = {f"simulation/{name}.py" for name in code_stamp._SOURCES}
    makers = {"latency/surfaces.py", "latency/build_surfaces.py"}
    # Latency targets: nothing of them is in a surface.
    assert set(surface_cache.SOURCES) == (used - compiled - {"workload/slo.py"}) | makers


def test_the_files_that_nobody_reads_are_dropped_first(built, tmp_path):
    known_surface(_job())
    folder = tmp_path / "cascadia" / "surfaces"
    (first,) = folder.iterdir()
    (folder / "unread").write_bytes(b"x")
    os.utime(folder / "unread", (1e9, 1e9))
    os.utime(first, (9e8, 9e8))
    known_surface(_job())
    drop_oldest(1)
    assert [path.name for path in folder.iterdir()] == [first.name]
    assert len(built) == 1
    drop_oldest(0)
    assert not list(folder.iterdir())


def test_a_plan_leaves_no_more_files_than_allowed(built, tmp_path, monkeypatch):
    monkeypatch.setattr(surface_cache.drop_oldest, "__defaults__", (2,))
    problem = workload_problem()
    load = load_workload(problem.workload)
    shapes = shapes_of_pools(problem, load)
    building.build_surfaces(problem, load, shapes, JobRunner())
    assert len(built) > 2
    assert len(list((tmp_path / "cascadia" / "surfaces").iterdir())) == 2


def test_a_write_that_fails_leaves_nothing(built, tmp_path):
    known_surface(_job())
    folder = tmp_path / "cascadia" / "surfaces"
    (file,) = folder.iterdir()
    file.unlink()
    # No file can be put in place of a folder.
    file.mkdir()
    known_surface(_job())
    assert len(built) == 2
    assert list(folder.iterdir()) == [file]
