"""The roofline against sizes that the models' makers publish, and against its own bounds."""

import json
from dataclasses import replace

import pytest

from bench.planner.fleet import DEEPSEEK_671B, LLAMA_70B
from bench.planner.published_steps import PUBLISHED
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.planner.speed.roofline import (
    GPUS,
    all_reduce_latency_s,
    kv_tokens,
    load_shape,
    roofline_profile,
    roofline_times,
    shape_of_config,
)

# As published: with eight bits a weight.
DEEPSEEK_V3 = {**DEEPSEEK_671B, "quantization_config": {"quant_method": "fp8"}}


@pytest.mark.parametrize(
    ("config", "billions", "active_billions", "kv_bytes"),
    [(LLAMA_70B, 70.6, 69.5, 327_680), (DEEPSEEK_V3, 671, 37, 70_272)],
    ids=["llama-70b", "deepseek-v3"],
)
def test_a_shape_has_the_published_size(config, billions, active_billions, kv_bytes):
    shape = shape_of_config(config)
    assert shape.parameters / 1e9 == pytest.approx(billions, rel=0.01)
    assert shape.active / 1e9 == pytest.approx(active_billions, rel=0.02)
    assert shape.kv_bytes == kv_bytes


@pytest.mark.parametrize("gpu", GPUS.values(), ids=GPUS)
def test_a_decoding_step_takes_no_less_than_reading_the_weights(gpu):
    shape = shape_of_config(LLAMA_70B)
    read_s = 141.1e9 / (4 * gpu.memory_gb_per_s * 1e9 * gpu.bandwidth_reached)
    times = roofline_times(shape, gpu, tp=4, pp=1)
    assert read_s * 0.98 < times.decode_s(1) < 2 * read_s + 0.015


def test_more_ranks_are_faster_but_not_in_proportion():
    shape, gpu = shape_of_config(LLAMA_70B), GPUS["H100"]
    single, four = (roofline_times(shape, gpu, tp, 1).prefill_s(4096) for tp in (1, 4))
    assert single / 4 < four < single / 2


def test_a_long_prefill_is_bound_by_arithmetic_and_a_step_by_memory():
    shape, gpu = shape_of_config(LLAMA_70B), GPUS["H100"]
    times = roofline_times(shape, gpu, 4, 1)
    assert times.prefill_s(16384) / times.prefill_s(8192) == pytest.approx(2.0, rel=0.05)
    assert times.decode_s(8) < 1.1 * times.decode_s(1)


def test_no_step_is_shorter_than_the_work_of_the_host():
    shape = shape_of_config(LLAMA_70B)
    free, held = (
        roofline_times(shape, replace(GPUS["H100"], host_step_ms=ms), 8, 1) for ms in (0.0, 20.0)
    )
    assert free.decode_s(1) < 0.020 < free.prefill_s(16384)
    assert held.decode_s(1) == pytest.approx(0.020)
    # What takes the device longer than the host stays as it is.
    assert held.prefill_s(16384) == free.prefill_s(16384)


def test_the_latency_of_reductions_bounds_what_ranks_gain():
    """Eight ranks read an eighth of the weights, and wait 64 times for each other."""
    shape = load_shape("meta-llama/Llama-3.1-8B-Instruct")
    steps_ms = [1e3 * roofline_times(shape, GPUS["H100"], tp, 1).decode_s(1) for tp in (1, 2, 4, 8)]
    assert steps_ms == sorted(steps_ms, reverse=True)
    assert steps_ms[3] > 3.0
    assert all_reduce_latency_s(GPUS["L40S"], 8) > 2 * all_reduce_latency_s(GPUS["H100"], 8)


@pytest.mark.parametrize("row", PUBLISHED, ids=str)
def test_steps_come_near_what_engines_publish(row):
    """Most within 20 %; the smallest models and the newest engine further off."""
    assert abs(row.error) < row.allowed


def test_a_known_name_needs_no_hub():
    assert load_shape("Qwen/Qwen3-8B").parameters / 1e9 == pytest.approx(8.19, rel=0.01)
    assert load_shape("Qwen/Qwen2.5-72B-Instruct").parameters / 1e9 == pytest.approx(72.7, rel=0.01)


def test_what_memory_is_left_holds_the_cache():
    shape = shape_of_config(LLAMA_70B)
    assert kv_tokens(shape, GPUS["H100"], 1, 1) == 0
    assert kv_tokens(shape, GPUS["H100"], 4, 1) == pytest.approx(428_000, rel=0.01)


def test_a_latent_cache_is_held_whole_by_every_rank():
    shape = shape_of_config(DEEPSEEK_V3)
    eight, sixteen = (kv_tokens(shape, GPUS["H200"], tp, 1) for tp in (8, 16))
    # 124 GB a device less its part of 671 GB, over 70,272 bytes a token.
    assert eight == pytest.approx((141e9 * 0.88 - 671e9 / 8) / 70_272, rel=0.02)
    assert sixteen < 2 * eight + 1e6
    times = [roofline_times(shape, GPUS["H200"], tp, 1) for tp in (8, 16)]
    assert times[0].decode_context_us == pytest.approx(times[1].decode_context_us)


def test_a_model_that_does_not_fit_is_named(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_70B))
    with pytest.raises(ConfigError, match=r"tier big: 141\.1 GB of weights do not fit 1 x 1 L40S"):
        roofline_profile({"big": str(tmp_path)}, GPUS["L40S"], 1, 1)
    profile = roofline_profile({"big": str(tmp_path)}, GPUS["H100"], 4, 1)
    assert profile.source == "roofline"


def test_a_config_without_a_size_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"config\.json: num_hidden_layers is missing"):
        load_shape(tmp_path)
    with pytest.raises(ConfigError, match="No such file"):
        load_shape(tmp_path / "none")
