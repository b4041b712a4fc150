"""Surfaces on disk: read again for equal inputs, at any rate, and built anew for others."""

import dataclasses

import msgspec
import numpy as np
import pytest

from cascadia_sglang.planner.latency import build_surfaces as building
from cascadia_sglang.planner.latency.build_surfaces import (
    AnswerLengths,
    SurfaceJob,
    known_surface,
    normalised,
)
from cascadia_sglang.planner.latency.surface_cache import surface_key
from cascadia_sglang.planner.workload.workload import build_workload, poisson_arrivals_s
from tests.unit.planner.whole_problems import made_shape

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
        workload=normalised(load), shape=shape, answers=AnswerLengths(length=1.0, **changes)
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
    (kept,) = (tmp_path / "cascadia" / "surfaces").iterdir()
    kept.write_bytes(b"\x00broken")
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
