"""The compiled events: by what they are kept, and what they are given."""

import ast
import dataclasses
from pathlib import Path

import llvmlite
import numpy as np
import pytest

from cascadia_sglang.planner.simulation import code_stamp, machine_code
from cascadia_sglang.planner.simulation.initial_state import initial_state
from cascadia_sglang.planner.simulation.paths import direct_paths
from cascadia_sglang.planner.simulation.simulator import simulate
from cascadia_sglang.planner.speed.profile import HostTimes
from cascadia_sglang.planner.workload.workload import build_workload
from tests.unit.planner.simulation.test_simulator import _tier

LOAD = build_workload([0, 1], [5, 5], [3, 4])


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """An empty folder for compiled code."""
    monkeypatch.setattr(machine_code, "_FOLDER", tmp_path)
    return tmp_path


def _files_behind(name: str) -> set[str]:
    """A module of the simulation, what it imports of the simulation, and so on."""
    simulation = "cascadia_sglang.planner.simulation."
    modules, remaining = set(), [name]
    while remaining:
        module = remaining.pop()
        if module in modules:
            continue
        modules.add(module)
        text = Path(code_stamp.__file__).with_name(f"{module}.py").read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(simulation):
                remaining.append(node.module.removeprefix(simulation))
    return modules


def test_compiled_code_is_kept_by_all_of_its_sources(folder, monkeypatch):
    assert set(code_stamp._SOURCES) == _files_behind("machine_code")
    paths = {machine_code._path()}
    monkeypatch.setattr(machine_code, "STAMP", "other sources")
    paths.add(machine_code._path())
    monkeypatch.setattr(machine_code.llvm, "get_host_cpu_name", lambda: "other processor")
    paths.add(machine_code._path())
    monkeypatch.setattr(llvmlite, "__version__", "other compiler")
    paths.add(machine_code._path())
    assert len(paths) == 4
    assert {path.parent for path in paths} == {folder}


def test_code_that_was_kept_is_found_unless_it_is_damaged(folder):
    code = machine_code._MachineCode(name="function", code=b"\x7fELF\n\x00code\n")
    assert not machine_code.holds_compiled_code()
    machine_code._keep(code)
    assert machine_code._kept() == code
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert not machine_code.holds_compiled_code()


def test_where_nothing_can_be_kept_the_code_is_compiled_for_this_process(folder, monkeypatch):
    monkeypatch.setattr(machine_code, "_FOLDER", None)
    machine_code._keep(machine_code._MachineCode(name="function", code=b"code"))
    assert not machine_code.holds_compiled_code()
    assert not list(folder.iterdir())


def test_a_full_disk_keeps_nothing(monkeypatch, folder):
    def is_full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(machine_code.tempfile, "NamedTemporaryFile", is_full)
    machine_code._keep(machine_code._MachineCode(name="function", code=b"code"))
    assert not list(folder.iterdir())


def test_arrays_of_another_layout_are_refused():
    """The code reads memory by the layout that it was compiled for."""
    state = initial_state(LOAD, direct_paths(LOAD), [_tier()], HostTimes())
    for wrong, says in (
        (state._replace(blocks_P=np.zeros(2, np.int32)), "blocks_P is an array of 1 axes of int32"),
        (state._replace(blocks_P=np.zeros((1, 1), np.int64)), "blocks_P is an array of 2 axes"),
        (state._replace(blocks_P=np.zeros(4, np.int64)[::2]), "contiguous"),
    ):
        with pytest.raises(TypeError, match=says):
            machine_code.run_events(wrong)


def test_blocks_that_lie_apart_in_memory_are_taken():
    blocks = np.arange(8)[::2]
    apart = dataclasses.replace(
        LOAD, blocks_P=blocks, block_starts_R=np.array([0, 2, 4]), block_tokens=2
    )
    together = dataclasses.replace(apart, blocks_P=blocks.copy())
    first, second = (
        simulate(load, direct_paths(load), [_tier()]).e2e_s_R for load in (apart, together)
    )
    assert np.array_equal(first, second)
