"""Which tiers calibrate themselves, and how many answers are labelled for it."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from cascadia_sglang.config.cascade_file import load_cascade
from cascadia_sglang.config.label_settings import (
    DEFAULT_LABEL_RATE,
    label_problems,
    label_rate,
    self_calibrated_tiers,
)
from cascadia_sglang.config.routing_settings import RoutingConfig
from cascadia_sglang.config.settings import CascadeConfig, JudgeConfig, PlannerConfig
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.testing.engine import make_cascade


def cascade(
    label: float | None = None, shadow: float | None = None, **changes: Any
) -> CascadeConfig:
    """Three tiers without a file, and without thresholds."""
    return msgspec.structs.replace(
        make_cascade("small", "middle", "large"),
        routing=RoutingConfig(),
        judge=JudgeConfig(label_rate=label),
        planner=PlannerConfig(shadow_rate=shadow),
        **changes,
    )


def test_tiers_without_a_file_calibrate_themselves_but_the_last() -> None:
    config = cascade()
    assert self_calibrated_tiers(config) == {0, 1}
    given = msgspec.structs.replace(config.tiers[0], calibration="a.json")
    some = msgspec.structs.replace(config, tiers=[given, *config.tiers[1:]])
    assert self_calibrated_tiers(some) == {1}


def test_none_does_where_that_is_off_where_nothing_is_labelled_or_nothing_is_ranked() -> None:
    assert self_calibrated_tiers(cascade(calibration="off")) == frozenset()
    assert self_calibrated_tiers(cascade(label=0.0)) == frozenset()
    assert self_calibrated_tiers(make_cascade("small", "large")) == frozenset()


@pytest.mark.parametrize(
    ("label", "shadow", "rate"),
    [
        (None, None, DEFAULT_LABEL_RATE),
        (0.1, None, 0.1),
        (None, 0.1, 0.1),
        (0.1, 0.1, 0.1),
        (0.0, None, 0.0),
    ],
)
def test_both_names_say_the_rate(label: float | None, shadow: float | None, rate: float) -> None:
    assert label_rate(cascade(label, shadow)) == rate
    assert label_problems(cascade(label, shadow)) == []


@pytest.mark.parametrize("written", ["off", "'off'", "false", "no"])
def test_off_needs_no_quotes_in_yaml(written: str, tmp_path: Path) -> None:
    path = tmp_path / "cascade.yaml"
    tiers = "tiers: [{name: small, model_path: demo}, {name: large, model_path: demo/models}]"
    path.write_text(f"version: 1\n{tiers}\ncalibration: {written}\n")
    config = load_cascade(path)
    assert config.calibration == "off"
    assert self_calibrated_tiers(config) == frozenset()
    path.write_text(f"version: 1\n{tiers}\ncalibration: on\n")
    with pytest.raises(ConfigError, match="calibration is true, allowed: auto, off"):
        load_cascade(path)


def test_a_cascade_with_files_labels_nothing_by_itself() -> None:
    assert label_rate(make_cascade("small", "large")) == 0.0
    assert label_rate(cascade(calibration="off")) == 0.0


def test_two_names_that_say_different_things_are_refused() -> None:
    assert label_problems(cascade(0.1, 0.2)) == [
        "judge.label_rate is 0.1 and planner.shadow_rate is 0.2; they are two names of one "
        "setting, allowed: one of them, or the same"
    ]
