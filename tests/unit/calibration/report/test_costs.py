"""Costs of answers from tokens and step times, against sums by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from cascadia_sglang.calibration.record.records import Record
from cascadia_sglang.calibration.report.costs import (
    TierSpeeds,
    fixed_costs,
    parse_costs,
    step_costs,
    tier_speeds,
)
from cascadia_sglang.config.cascade_file import build_cascade
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.errors import CalibrationError, ConfigError
from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.planner.speed.profile import StepTimes

PROMPT_TOKENS = FEATURES.index("log_prompt_tokens")


def record(prompt: int, output: int, seconds: float = 1.0) -> Record:
    features = [0.0] * len(FEATURES)
    features[PROMPT_TOKENS] = float(np.log1p(prompt))
    return Record(
        id="q", tier="t", asked="", text="", tokens=[output], features=[features], seconds=seconds
    )


def times(decode_ms: float, prefill_ms_per_token: float) -> StepTimes:
    """A decoding step takes the same for any rows, a prefill by its tokens."""
    sizes = (1, 1000, 100_000)
    return StepTimes(
        decode_ms=[(1, decode_ms), (64, decode_ms)],
        prefill_ms=[(size, prefill_ms_per_token * size) for size in sizes],
    )


def speeds(*tiers: StepTimes, devices: tuple[int, ...] = (1, 1)) -> TierSpeeds:
    return TierSpeeds(times=tiers, devices=devices, source="a table")


def test_an_answer_costs_its_prefill_and_its_share_of_the_steps() -> None:
    small, large = times(decode_ms=2.0, prefill_ms_per_token=0.01), times(8.0, 0.05)
    records = [[record(100, 20), record(300, 40)], [record(100, 10), record(300, 10)]]
    # Means of 200 and 30, and of 200 and 10 tokens; 16 rows share a step.
    small_ms = 200 * 0.01 + 29 * 2.0 / 16
    large_ms = 200 * 0.05 + 9 * 8.0 / 16
    assert step_costs(speeds(small, large), records, 16) == pytest.approx(
        (1.0, large_ms / small_ms)
    )


def test_the_time_under_load_does_not_count_and_devices_do() -> None:
    tier = times(decode_ms=2.0, prefill_ms_per_token=0.01)
    records = [[record(100, 20, seconds=0.1)], [record(100, 20, seconds=900.0)]]
    assert step_costs(speeds(tier, tier), records, 8) == pytest.approx((1.0, 1.0))
    assert step_costs(speeds(tier, tier, devices=(1, 4)), records, 8) == pytest.approx((1.0, 4.0))


def test_short_answers_share_their_prefills() -> None:
    """With 32 rows and 4 tokens an answer, 8 prompts come with every step."""
    flat = StepTimes(decode_ms=[(1, 1.0)], prefill_ms=[(1, 5.0), (100_000, 5.0)])
    slow = StepTimes(decode_ms=[(1, 1.0)], prefill_ms=[(1, 10.0), (100_000, 10.0)])
    flat_ms, slow_ms = (prefill_ms / 8 + 3 * (32 / 32) for prefill_ms in (5.0, 10.0))
    # One row is the largest size: 32 rows take 32 times as long.
    records = [[record(50, 4)], [record(50, 4)]]
    assert step_costs(speeds(flat, slow), records, 32) == pytest.approx((1.0, slow_ms / flat_ms))


def cascade(**more: object) -> CascadeConfig:
    tiers = [
        {"name": name, "model_path": f"demo/models/{name}", "server_args": {"tp_size": tp}}
        for name, tp in (("small", 1), ("large", 2))
    ]
    data = {"version": 1, "tiers": tiers, "routing": {"escalation_rate": 0.3}, **more}
    return build_cascade(data, "test")


def profile(folder: Path, *tiers: str) -> Path:
    path = folder / "profile.json"
    pairs = {"decode_ms": [[1, 2.5]], "prefill_ms": [[1, 7.5]]}
    path.write_text(
        json.dumps({"version": 1, "device": "test", "tiers": dict.fromkeys(tiers, pairs)})
    )
    return path


def test_step_times_are_those_of_a_profile_or_estimated(tmp_path: Path) -> None:
    path = profile(tmp_path, "small", "large")
    by_profile = tier_speeds(cascade(), path, None)
    assert [tier.decode_ms for tier in by_profile.times] == [[(1, 2.5)]] * 2
    assert by_profile.devices == (1, 2)
    assert by_profile.source == f"step times of {path}"
    with_profile = cascade(planner={"profile": str(path)})
    assert tier_speeds(with_profile, None, None) == by_profile
    estimated = tier_speeds(with_profile, None, "L4")
    assert estimated.source == "step times estimated by the data sheet of L4"
    assert estimated.times[0].decode_ms[0][1] < estimated.times[1].decode_ms[0][1]
    assert tier_speeds(cascade(), None, None).source.endswith("the data sheet of H100")


def test_what_is_missing_is_named_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tier large is missing, it has small"):
        tier_speeds(cascade(), profile(tmp_path, "small"), None)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    tiers = [{"name": name, "model_path": str(folder)} for name in ("a", "b")]
    odd = cascade(tiers=tiers)
    with pytest.raises(ConfigError, match=r"tier a: .* is missing; give --profile or --tier-cost"):
        tier_speeds(odd, None, None)


def test_costs_need_every_tier_once() -> None:
    assert fixed_costs(parse_costs("large=8, small=1"), ["small", "large"]) == (1.0, 8.0)
    for text in ("small=1", "small=1,large=8,huge=9", "small=1,large=0"):
        with pytest.raises(CalibrationError, match="one number above 0 for each"):
            fixed_costs(parse_costs(text), ["small", "large"])
    with pytest.raises(CalibrationError, match="'large' is not TIER=NUMBER"):
        parse_costs("small=1,large")
