"""The kernel bench without its device: gate, rotation, rows; the times mean nothing here."""

import csv
import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.kernel import run as bench
from bench.kernel import variants
from bench.kernel.devices import HostDevice
from bench.kernel.results import save
from bench.kernel.variants import Step
from cascadia_kernels.row_statistics import SPLITS


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "LEAST_STEPS", 2)


def case(tempered: bool = True, columns: int = 40) -> bench.Case:
    return bench.Case(rows=1, columns=columns, dtype=torch.float32, tempered=tempered)


def test_a_run_writes_a_row_for_every_variant_of_every_case(tmp_path: Path) -> None:
    path = tmp_path / "kernels.csv"
    cases = [case(True), case(False)]
    assert bench.run(HostDevice(), cases, path, budget_s=600.0, repetitions=1) == 0
    rows = list(csv.DictReader(path.open(newline="")))
    names = ["read-only sum", "cascadia", "cascadia, a draft", "torch", "torch, a draft"]
    assert [row["variant"] for row in rows] == names * 2
    assert {row["tempered"] for row in rows} == {"True", "False"}
    for row in rows:
        assert float(row["device_us_p50"]) > 0.0
        assert float(row["host_us_p50"]) > 0.0
        assert row["times_ours"] == "1.0" or row["variant"] != "cascadia"
        assert row["device"] == "interpreter"


def test_another_device_keeps_its_rows_and_the_same_one_replaces_its_own(tmp_path: Path) -> None:
    path = tmp_path / "kernels.csv"
    (first, *_) = bench.measure(case(False), HostDevice(), bench.facts(HostDevice()), 1)
    other = dataclasses.replace(first, device="another")
    for results in ([other], [first], [first]):
        save(path, results)
    rows = list(csv.DictReader(path.open(newline="")))
    assert [row["device"] for row in rows] == ["another", "interpreter"]


def test_every_row_is_saved_as_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is ended on the way keeps what it has measured."""
    path = tmp_path / "kernels.csv"

    def ended(_step: Step) -> torch.Tensor:
        if path.exists():
            raise KeyboardInterrupt
        return torch.zeros(1)

    monkeypatch.setattr(variants, "torch_step", ended)
    monkeypatch.setattr(bench, "passes", lambda *_arguments: True)
    with pytest.raises(KeyboardInterrupt):
        bench.run(HostDevice(), [case(True)], path, budget_s=600.0, repetitions=1)
    rows = list(csv.DictReader(path.open(newline="")))
    assert [row["variant"] for row in rows] == ["read-only sum", "cascadia", "cascadia, a draft"]


def test_a_tuning_run_times_every_split(tmp_path: Path) -> None:
    path = tmp_path / "kernels.csv"
    assert bench.run(HostDevice(), [case()], path, 600.0, repetitions=1, splits=True) == 0
    rows = list(csv.DictReader(path.open(newline="")))
    anchors = ["read-only sum", "cascadia", "cascadia, a draft"]
    assert [row["variant"] for row in rows] == [*anchors, *(f"cascadia {n}" for n in SPLITS)]


def test_a_sampled_step_is_given_what_serving_gives() -> None:
    (step,) = variants.make_steps(2, 40, torch.float32, True, 1, torch.device("cpu"))
    assert step.probability_BV is not None
    assert step.probability_BV.shape == (2, 40)
    torch.testing.assert_close(step.probability_BV.sum(dim=-1), torch.ones(2))


def wrong(step: Step) -> torch.Tensor:
    return variants.torch_step(step) + 0.01


@pytest.mark.parametrize("broken", [wrong, lambda step: step.missing], ids=["wrong", "fails"])
def test_a_variant_that_fails_the_gate_is_not_timed(
    broken: Callable[[Step], torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    (step,) = variants.make_steps(1, 40, torch.float32, False, 1, torch.device("cpu"))
    variant = variants.Variant("broken", broken, gives_step_values=True)
    assert not bench.passes(variant, step)
    assert "broken" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [("cascadia_step", "cascadia failed"), ("cascadia_draft", "cascadia, a draft failed")],
)
def test_kernels_that_fail_the_gate_end_the_bench(
    name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variants, name, wrong)
    with pytest.raises(RuntimeError, match=f"{message} the gate"):
        list(bench.measure(case(), HostDevice(), bench.facts(HostDevice()), 1))


def test_cases_beyond_the_budget_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.run(HostDevice(), [case()], tmp_path / "kernels.csv", budget_s=-1.0) == 1
    assert "left out" in capsys.readouterr().err


def test_steps_outgrow_the_cache_and_fit_the_memory() -> None:
    device = HostDevice()
    device.cache_bytes = 50 << 20
    small = bench.Case(rows=1, columns=151936, dtype=torch.float32, tempered=False)
    assert bench.count_steps(small, device) == 256
    large = bench.Case(rows=8, columns=151936, dtype=torch.float32, tempered=False)
    assert bench.count_steps(large, device) * 8 * 151936 * 4 >= 4 * device.cache_bytes * 0.97
    huge = bench.Case(rows=4096, columns=262144, dtype=torch.float32, tempered=False)
    assert bench.count_steps(huge, device) == 2


def test_the_bench_imports_what_a_bare_machine_has() -> None:
    names = "sglang", "numba", "msgspec", "bench.harness", "cascadia_sglang"
    code = (
        f"import sys, bench.kernel.run, bench.kernel.compiled; print({names} & sys.modules.keys())"
    )
    code = code.replace(f"{names}", f"set({names})")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
