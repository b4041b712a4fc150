"""How many requests are to climb: `routing.escalation_rate`, its flag, and fixed thresholds."""

import math
from pathlib import Path
from typing import Any

import pytest

from cascadia_sglang.config.cascade_file import build_cascade, cascade_from_flags, with_thresholds
from cascadia_sglang.config.escalation import escalation_rates, ranked_tiers
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.testing.engine import make_cascade


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the models `small`, which is calibrated, and `large`."""
    monkeypatch.chdir(tmp_path)
    for name in ("small", "large"):
        (tmp_path / name).mkdir()
    (tmp_path / "small" / "calibration.json").write_text("{}")
    return tmp_path


def cascade(routing: dict[str, Any], calibration: str | None = None) -> dict[str, Any]:
    small = {"name": "small", "model_path": "small", "calibration": calibration}
    tiers = [small, {"name": "large", "model_path": "large"}]
    return {"version": 1, "tiers": tiers, "routing": routing}


def refusal(data: dict[str, Any]) -> str:
    """What the operator is told: one line."""
    with pytest.raises(ConfigError) as raised:
        build_cascade(data, "here")
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("flag", "rate", "of_each"),
    [(None, None, [0.3]), ("0.2", 0.2, [0.2]), ("0", 0.0, [0.0])],
    ids=["default", "one", "zero"],
)
def test_tiers_from_flags_need_no_calibration_with_a_rate(
    flag: str | None, rate: float | None, of_each: list[float]
) -> None:
    config = cascade_from_flags("large=large,small=small", None, flag)
    assert config.routing.escalation_rate == rate
    assert escalation_rates(config) == of_each
    assert ranked_tiers(config) == {0}


@pytest.mark.parametrize(
    ("tiers", "thresholds", "rate", "message"),
    [
        ("small=small,large=large", None, "much", "--cascade-escalation-rate: 'much' is not a"),
        ("small=small,large=large", None, "1.5", "routing.escalation_rate is 1.5, allowed: 0 to"),
        ("small=small,large=large", None, "0.3,0.4", "escalation_rate has 2 numbers, needed: 1"),
        ("small=small,large=large", "0.7", "0.3", "thresholds and escalation_rate are both given"),
        ("large=large", None, "0.3", "escalation_rate is given, allowed: with two tiers or more"),
    ],
)
def test_a_malformed_rate_is_one_line(
    tiers: str, thresholds: str | None, rate: str, message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        cascade_from_flags(tiers, thresholds, rate)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


# Rates


def test_one_rate_is_the_share_of_all_requests_that_reaches_the_last_tier() -> None:
    config = make_cascade("a", "b", "c", "d", escalation_rate=0.3)
    rates = escalation_rates(config)
    assert len(rates) == 3
    assert math.prod(rates) == pytest.approx(0.3)
    assert len(set(rates)) == 1


def test_a_list_of_rates_is_each_tiers_own() -> None:
    config = make_cascade("a", "b", "c", escalation_rate=[0.5, 0.2])
    assert escalation_rates(config) == [0.5, 0.2]


def test_thresholds_without_a_calibration_name_the_rate() -> None:
    message = refusal(cascade({"thresholds": [0.5]}))
    assert "tiers[0].calibration is missing" in message
    assert "without one give routing.escalation_rate" in message


def test_neither_thresholds_nor_a_rate_is_a_rate() -> None:
    config = build_cascade(cascade({}), "here")
    assert escalation_rates(config) == [0.3]
    assert ranked_tiers(config) == {0}


def test_a_calibrated_tier_is_not_ranked_and_may_keep_a_rate() -> None:
    config = build_cascade(cascade({"escalation_rate": 0.2}, "small/calibration.json"), "here")
    assert ranked_tiers(config) == frozenset()


def test_a_quality_floor_needs_thresholds_and_a_sample_alone_needs_none(tmp_path: Path) -> None:
    data = cascade({"escalation_rate": 0.3})
    sample = tmp_path / "s.json"
    sample.write_text("{}")
    data["planner"] = {"sample": str(sample), "quality_floor": 0.9}
    assert "planner.quality_floor needs routing.thresholds" in refusal(data)
    data["planner"] = {"sample": str(sample)}
    assert build_cascade(data, "here").planner.sample == str(sample)


def test_no_tier_is_ranked_where_thresholds_are_fixed_or_a_judge_is_off() -> None:
    assert ranked_tiers(make_cascade("a", "b")) == frozenset()
    data = cascade({"escalation_rate": 0.3})
    data["tiers"][0]["server_args"] = {"speculative_algorithm": "DFLASH"}
    data["judge"] = {"on_error": "accept"}
    assert ranked_tiers(build_cascade(data, "here")) == frozenset()


def test_thresholds_take_the_place_of_a_rate() -> None:
    config = with_thresholds(make_cascade("a", "b", escalation_rate=0.3), [0.7])
    assert config.routing.thresholds == [0.7]
    assert config.routing.escalation_rate is None


@pytest.mark.parametrize("thresholds", [[], [0.5, 0.5], [2.0]])
def test_thresholds_that_do_not_fit_change_nothing(thresholds: list[float]) -> None:
    for config in (make_cascade("a", "b"), make_cascade("a", "b", escalation_rate=0.3)):
        with pytest.raises(ConfigError):
            with_thresholds(config, thresholds)
