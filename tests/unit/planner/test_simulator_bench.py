"""What the bench of the simulator says of real and simulated runs."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import t as student_t

from bench.planner import simulator
from bench.planner.kept_cells import KeptCells
from bench.planner.report import report
from bench.planner.simulator_cell import T_95, Cell, rows_of
from cascadia_sglang.planner.speed.profile import HostTimes
from tests.unit.harness.test_rows import FACTS


def _cell(real, simulated, allowed=0.05):
    return Cell(
        arm="small, emulated",
        load=0.6,
        rate_per_s=3.0,
        requests=50,
        allowed_mean=allowed,
        real_mean_ms=real,
        simulated_mean_ms=simulated,
        real_p50_ms=real,
        simulated_p50_ms=simulated,
        real_p95_ms=real,
        simulated_p95_ms=simulated,
    )


def test_the_error_of_pairs_holds_nothing_of_what_both_share():
    """Runs differ by a factor of three, the simulation is 2 % above each."""
    real = [100.0, 200.0, 300.0, 150.0, 250.0]
    cell = _cell(real, [1.02 * value for value in real])
    assert cell.mean_error.p50 == pytest.approx(0.02)
    assert cell.mean_error.high95 - cell.mean_error.low95 == pytest.approx(0.0, abs=1e-9)
    assert cell.half_width > 0.4


def test_the_interval_is_students():
    errors = [0.01, 0.03, -0.02, 0.05]
    cell = _cell([100.0] * 4, [100.0 * (1 + error) for error in errors])
    spread = 0.029860788
    assert cell.mean_error.p50 == pytest.approx(0.0175)
    half = cell.mean_error.high95 - cell.mean_error.p50
    assert half == pytest.approx(student_t.ppf(0.975, 3) * spread / 2, rel=1e-3)
    for runs, value in T_95.items():
        assert value == pytest.approx(student_t.ppf(0.975, runs - 1), abs=1e-3)


def test_a_missed_mean_is_marked_and_written():
    cells = [_cell([100.0] * 5, [104.0] * 5), _cell([100.0] * 5, [94.0] * 5)]
    first, second = report(cells).splitlines()[2:4]
    assert "missed" not in first
    assert "-6.0 % ± 0.0 | 5 %, missed" in second
    assert "over 2 cells: -1.0 %" in report(cells)
    rows = {(row.variant, row.metric): row for row in rows_of(cells[1], FACTS)}
    assert rows["simulated/real - 1", "e2e_mean"].p50 == pytest.approx(-0.06)
    assert rows["allowed", "e2e_mean"].p50 == 0.05


def test_a_stopped_run_goes_on_with_the_cells_of_its_own_commit(tmp_path):
    kept = KeptCells(folder=tmp_path / "kept", settings="commit, 5 runs")
    cell = _cell([100.0, 110.0], [101.0, 108.0])
    assert kept.find(cell.arm, cell.load) is None
    kept.keep(cell)
    assert kept.find(cell.arm, cell.load) == cell
    assert kept.find(cell.arm, 0.75) is None
    assert kept.find("large, emulated", cell.load) is None
    assert dataclasses.replace(kept, settings="other, 5 runs").find(cell.arm, cell.load) is None
    nothing = dataclasses.replace(kept, folder=None)
    nothing.keep(cell)
    assert nothing.find(cell.arm, cell.load) is None


def test_a_cell_is_measured_once_and_the_rate_stays_that_of_the_first(tmp_path, monkeypatch):
    asked, loads = [], []

    def observe(_port, at_s, seed, _names, _pinned):
        asked.append(seed)
        return SimpleNamespace(e2e_s=[1.0] * len(at_s))

    def saturation_per_s(_arm, count):
        loads.append(count)
        return 10.0

    monkeypatch.setattr(simulator, "observe", observe)
    monkeypatch.setattr(simulator, "saturation_per_s", saturation_per_s)
    monkeypatch.setattr(
        simulator, "replay", lambda seen, *_: SimpleNamespace(e2e_s_R=np.array(seen.e2e_s))
    )
    kept = KeptCells(folder=tmp_path, settings="commit, 2 runs")
    arm = simulator.Arm(
        name="large, emulated",
        port=1,
        pinned="large",
        tiers=[],
        host=HostTimes(),
        allowed_mean=0.05,
    )
    first = next(simulator.cells(arm, 2, False, kept))
    assert first.rate_per_s == pytest.approx(3.0)
    cells = list(simulator.cells(arm, 2, False, kept))
    assert cells[0] == first
    assert [cell.load for cell in cells] == list(simulator.LOADS)
    assert cells[2].rate_per_s == pytest.approx(7.5)
    assert list(simulator.cells(arm, 2, False, kept)) == cells
    # Two runs of three cells, at a rate that was measured once.
    assert len(asked) == len(set(asked)) == 6
    assert len(loads) == 1
