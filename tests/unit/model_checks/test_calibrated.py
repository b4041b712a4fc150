"""A calibration belongs to the model whose answers it was fitted on."""

import json
import shutil
from pathlib import Path

import pytest

from cascadia_sglang.config.settings import CascadeConfig, TierConfig
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.judge.features import earlier_names
from cascadia_sglang.model_checks.calibrated import (
    loaded_calibrations,
    model_fingerprint,
    tier_vocabularies,
)
from tests.repo.source import ROOT
from tests.unit.model_checks.small_models import WORDS, write_model

MODELS = ROOT / "demo" / "models"


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    """A calibration of the demo's small model that says so."""
    data = json.loads((MODELS / "small" / "calibration.json").read_text())
    data["model"] = model_fingerprint(MODELS / "small")
    path = tmp_path / "small.json"
    path.write_text(json.dumps(data))
    return path


def load(model_path: Path, calibration: Path) -> None:
    tier = TierConfig(name="small", model_path=str(model_path), calibration=str(calibration))
    config = CascadeConfig(version=1, tiers=[tier])
    loaded_calibrations(config, config.calibrations())


def test_a_calibration_of_the_tiers_model_loads_wherever_the_model_lies(
    tmp_path: Path, calibration: Path
) -> None:
    load(MODELS / "small", calibration)
    shutil.copytree(MODELS / "small", tmp_path / "moved")
    load(tmp_path / "moved", calibration)


def test_a_calibration_of_another_model_is_refused(calibration: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(MODELS / "large", calibration)
    assert str(raised.value) == (
        f"calibration {calibration} was fitted on the answers of another model than "
        f"{MODELS / 'large'} of tier small; fit the calibration again"
    )


def test_a_calibration_that_does_not_say_its_model_loads(tmp_path: Path) -> None:
    load(MODELS / "large", MODELS / "small" / "calibration.json")
    write_model(tmp_path / "other")
    load(tmp_path / "other", MODELS / "small" / "calibration.json")


def test_a_model_is_known_by_weights_of_every_part(tmp_path: Path) -> None:
    shutil.copytree(MODELS / "small", tmp_path / "tuned")
    file = tmp_path / "tuned" / "model.safetensors"
    weights = bytearray(file.read_bytes())
    before = model_fingerprint(tmp_path / "tuned")
    assert before == model_fingerprint(MODELS / "small")
    # As fine-tuning does: all values of the last quarter.
    for offset in range(3 * len(weights) // 4, len(weights)):
        weights[offset] ^= 1
    file.write_bytes(weights)
    assert model_fingerprint(tmp_path / "tuned") != before
    assert model_fingerprint(tmp_path) is None
    assert model_fingerprint(None) is None


def test_a_second_judge_belongs_to_a_pair_of_vocabularies(
    tmp_path: Path, calibration: Path
) -> None:
    small = write_model(tmp_path / "small")
    large = write_model(tmp_path / "large", words=(*WORDS, "more"))
    tiers = [TierConfig(name=name, model_path=path) for name, path in [("s", small), ("l", large)]]
    vocabularies = tier_vocabularies(CascadeConfig(version=1, tiers=tiers))
    assert len(set(vocabularies)) == 2
    data = json.loads(calibration.read_text())
    names = earlier_names(1)
    data |= {key: [*data[key], *[1.0] * len(names)] for key in ("mean", "scale", "weights")}
    data["features"] += names
    for prefix in data["prefix"]:
        prefix["weights"] += [1.0] * len(names)
    data |= {"model": None, "draft_vocabularies": vocabularies}
    file = tmp_path / "large.draft.json"
    file.write_text(json.dumps(data))

    def load_pair(*pair: str) -> None:
        config = CascadeConfig(
            version=1,
            tiers=[
                TierConfig(name="s", model_path=pair[0]),
                TierConfig(name="l", model_path=pair[1], draft_calibration=str(file)),
            ],
        )
        loaded_calibrations(config, config.draft_calibrations())

    load_pair(small, large)
    for pair, name in (((small, small), "l"), ((large, large), "s")):
        with pytest.raises(ConfigError) as raised:
            load_pair(*pair)
        assert str(raised.value) == (
            f"calibration {file} was fitted on drafts in another vocabulary than that of tier "
            f"{name}; fit the calibration again"
        )
