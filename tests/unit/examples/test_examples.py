"""The ready cascades in `examples/`: valid, on the machine that each is for."""

import re
from pathlib import Path

import pytest
import yaml

from cascadia_sglang.cli import main
from cascadia_sglang.judge.calibration import load_calibrations
from cascadia_sglang.memory.weights import weight_bytes
from cascadia_sglang.planner.speed.roofline import load_shape
from tests.repo.source import ROOT
from tests.unit.examples.models import MODELS, write_models

EXAMPLES = ROOT / "examples"
MACHINES = {
    "qwen2.5-coder-24gb.yaml": (1, "L4"),
    "qwen3-24gb.yaml": (1, "L4"),
    "llama3-24gb.yaml": (1, "L4"),
    "smollm2-qwen3-24gb.yaml": (1, "L4"),
    "smollm2-qwen2.5-coder-24gb.yaml": (1, "L4"),
    "qwen3-80gb.yaml": (1, "H100"),
    "llama3-80gb.yaml": (1, "H100"),
    "qwen3-8x80gb.yaml": (8, "H100"),
    "llama3-8x80gb.yaml": (8, "H100"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("examples")
    write_models(folder)
    return folder


def validated(
    file: Path, gpus: int, gpu: str, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    code = main(["validate", str(file), "--gpus", str(gpus), "--gpu", gpu])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_every_example_has_a_machine() -> None:
    assert {path.name for path in EXAMPLES.glob("*.yaml")} == set(MACHINES)


@pytest.mark.parametrize("name", MACHINES)
def test_an_example_fits_its_machine_and_the_documents_table_is_what_is_printed(
    name: str,
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(models)
    code, output = validated(EXAMPLES / name, *MACHINES[name], capsys)
    assert code == 0, output
    table = output.split("\n", 1)[1].strip()
    assert table in (EXAMPLES / "README.md").read_text()


def test_every_calibration_of_the_examples_is_of_its_tier() -> None:
    """The other files name one that their users make: `cascadia calibrate` does."""
    named: dict[Path, int] = {}
    for path in EXAMPLES.glob("*.yaml"):
        cascade = yaml.safe_load(path.read_text())
        for index, tier in enumerate(cascade["tiers"]):
            file = Path(tier.get("calibration") or "calibration/none")
            if file.parts[0] != "calibration":
                named[EXAMPLES / file] = index
        assert len(cascade["routing"]["thresholds"]) == len(cascade["tiers"]) - 1
    assert set(named) == set(EXAMPLES.glob("*/*.json"))
    for file, index in named.items():
        fitted = load_calibrations({index: str(file)})[index]
        # Users have other files of the same weights.
        assert fitted.model is None
        assert fitted.samples > 50


def test_a_model_that_does_not_fit_is_one_line_with_what_it_needs_and_what_there_is(
    tmp_path: Path,
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(models)
    file = tmp_path / "cascade.yaml"
    file.write_text((EXAMPLES / "qwen3-24gb.yaml").read_text().replace("Qwen3-4B", "Qwen3-8B"))
    code, output = validated(file, 1, "L4", capsys)
    assert code == 2
    assert output.count("\n") == 1
    assert re.search(
        r"tier \w+ lacks [\d.]+ GB: a worker needs [\d.]+ GB of each device "
        r"\([\d.]+ GB of weights\), device 0 gives it [\d.]+ GB, 0\.\d+ of it",
        output,
    )


def test_the_fitted_example_is_served_at_the_threshold_of_its_report() -> None:
    data = yaml.safe_load((EXAMPLES / "qwen2.5-coder-24gb.yaml").read_text())
    report = (EXAMPLES / "qwen2.5-coder" / "report.md").read_text()
    assert f"`routing.thresholds: {data['routing']['thresholds']}`" in report


@pytest.mark.parametrize("name", MODELS)
def test_the_sizes_are_those_of_the_models_shapes(name: str, models: Path) -> None:
    folder = models / "models" / name
    shape = load_shape(folder)
    stored = shape.parameters * shape.weight_bytes
    if name == "Qwen3-0.6B":
        # Its file holds the output layer once more, though it is tied to the embedding.
        stored += 151_936 * 1024 * 2
    assert weight_bytes(folder, 2) == pytest.approx(stored, rel=1e-3)
