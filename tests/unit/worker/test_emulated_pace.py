"""The speed of workers on an emulated device."""

import json
import time
from types import SimpleNamespace

import pytest

from cascadia_sglang.config.settings import CascadeConfig, PlannerConfig, TierConfig
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.planner.speed.profile import StepTimes
from cascadia_sglang.worker.batch_shape import BatchShape
from cascadia_sglang.worker.emulated_pace import Pace, pace_specs

TIMES = StepTimes(
    decode_ms=[(1, 20.0), (2, 30.0)],
    prefill_ms=[(10, 40.0)],
    decode_context_us=1.0,
    prefill_row_ms=5.0,
    prefill_context_ns=4000.0,
)


# As much of SGLang's batch as a pace reads: one request of 8 tokens that decodes.
DECODING = SimpleNamespace(
    forward_mode=SimpleNamespace(is_decode=lambda: True), reqs=[SimpleNamespace(seqlen=8)]
)


def _cascade(tmp_path, replicas: int, budget: int | None, *profiled: str) -> CascadeConfig:
    path = tmp_path / "profile.json"
    times = {"decode_ms": [[1, 1.0]], "prefill_ms": [[1, 1.0]]}
    content = {"version": 1, "device": "none", "tiers": dict.fromkeys(profiled, times)}
    path.write_text(json.dumps(content))
    return CascadeConfig(
        version=1,
        tiers=[
            TierConfig(name="small", model_path="/models/small", replicas=replicas),
            TierConfig(name="large", model_path="/models/large"),
        ],
        planner=PlannerConfig(emulate=str(path), gpu_budget=budget),
    )


@pytest.mark.parametrize(("share", "seconds"), [(1.0, 0.030), (0.5, 0.060)])
def test_a_step_takes_the_time_of_the_workers_share(share, seconds):
    pace = Pace(TIMES, share)
    decode = BatchShape(is_decode=True, rows=2, tokens=2, context_tokens=1000)
    prefill = BatchShape(is_decode=False, rows=3, tokens=10, context_pairs=500)
    assert pace.step_s(decode) == pytest.approx(seconds + 0.001 / share)
    assert pace.step_s(prefill) == pytest.approx((0.040 + 2 * 0.005 + 0.002) / share)


def test_a_forward_is_held_back_and_its_result_comes_through():
    started = time.monotonic()
    assert Pace(TIMES, 1.0).run(lambda: "logits", DECODING) == "logits"
    assert 0.020 <= time.monotonic() - started < 0.2


def test_a_forward_slower_than_the_device_is_not_held_longer():
    seconds = []
    for _ in range(5):
        started = time.monotonic()
        Pace(TIMES, 1.0).run(lambda: time.sleep(0.05), DECODING)
        seconds.append(time.monotonic() - started)
    # The best of some: others use this machine too.
    assert min(seconds) < 0.069


@pytest.mark.parametrize(
    ("replicas", "budget", "share"),
    [(1, None, 1.0), (1, 2, 1.0), (1, 1, 0.5), (3, 1, 0.25), (1, 8, 1.0)],
)
def test_workers_share_the_budget_evenly_and_have_one_device_at_most(
    tmp_path, replicas, budget, share
):
    specs = pace_specs(_cascade(tmp_path, replicas, budget, "small", "large"))
    assert {index: spec.tier for index, spec in specs.items()} == {0: "small", 1: "large"}
    assert {spec.share for spec in specs.values()} == {share}


def test_a_tier_that_the_profile_lacks_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no tier 'large', it has: small"):
        pace_specs(_cascade(tmp_path, 1, None, "small"))


def test_nothing_is_paced_without_a_profile():
    tiers = [TierConfig(name="only", model_path="/models/only")]
    assert pace_specs(CascadeConfig(version=1, tiers=tiers)) == {}
