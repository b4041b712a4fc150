"""How the workers of a host share its memory."""

import json
from pathlib import Path

import pytest

from cascadia_sglang.config.pool_specs import PoolSpec, pool_specs
from cascadia_sglang.config.settings import CascadeConfig, TierConfig
from cascadia_sglang.errors import ConfigError, WorkerError
from cascadia_sglang.memory import host as module
from cascadia_sglang.memory.host import OWN_BYTES, HostFlags, HostMemory, host_memory
from cascadia_sglang.planner.speed.roofline import LEAST_KV_TOKENS

# Sizes of Qwen2.5-Coder-0.5B and -1.5B.
SMALL = {"num_hidden_layers": 24, "hidden_size": 896, "num_attention_heads": 14}
LARGE = {"num_hidden_layers": 28, "hidden_size": 1536, "num_attention_heads": 12}
SMALL_BYTES, LARGE_BYTES = 1_260_334_848, 3_554_176_000
SMALL_KV, LARGE_KV = 12_288, 28_672


def write_model(folder: Path, sizes: dict[str, int], total_bytes: int) -> str:
    folder.mkdir()
    config = {**sizes, "num_key_value_heads": 2, "intermediate_size": 4864, "vocab_size": 151_936}
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    index = {"metadata": {"total_size": total_bytes}, "weight_map": {"a": "gone.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return str(folder)


@pytest.fixture
def pools(tmp_path: Path) -> list[PoolSpec]:
    """Two models of different size, and the smaller one once more with flags of its own."""
    small = write_model(tmp_path / "small", SMALL, SMALL_BYTES)
    large = write_model(tmp_path / "large", LARGE, LARGE_BYTES)
    tiers = [
        TierConfig(name="small", model_path=small),
        TierConfig(name="coarse", model_path=small, server_args={"page_size": 16}),
        TierConfig(name="large", model_path=large),
    ]
    return pool_specs(CascadeConfig(version=1, tiers=tiers))


@pytest.fixture(autouse=True)
def bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "has_bf16_instructions", lambda: True)


def divide(
    monkeypatch: pytest.MonkeyPatch, pools: list[PoolSpec], free_gb: float, **flags: object
) -> HostMemory:
    monkeypatch.setattr(module, "free_host_bytes", lambda: int(free_gb * 1e9))
    flags_by_pool = {pool.name: HostFlags.of({**flags, **pool.server_args}) for pool in pools}
    return host_memory(pools, flags_by_pool)


def cache_bytes(memory: HostMemory, weights: int, name: str, own_bytes: float = OWN_BYTES) -> float:
    """What SGLang leaves to the key-value pool: free before less the slack, less what was taken."""
    return memory.share_by_pool[name] * memory.free_bytes - weights - own_bytes


@pytest.mark.parametrize("free_gb", [24.0, 20.0, 12.0, 8.5])
def test_weights_and_a_useful_cache_fit_on_a_host_that_is_partly_used(
    monkeypatch: pytest.MonkeyPatch, pools: list[PoolSpec], free_gb: float
) -> None:
    memory = divide(monkeypatch, pools, free_gb)
    for name, weights, kv in (
        ("small", SMALL_BYTES, SMALL_KV),
        ("coarse", SMALL_BYTES, SMALL_KV),
        ("large", LARGE_BYTES, LARGE_KV),
    ):
        assert cache_bytes(memory, weights, name) / kv >= LEAST_KV_TOKENS - 1
    assert sum(memory.share_by_pool.values()) < 1


def test_the_larger_model_has_the_larger_share_and_all_hold_as_many_tokens(
    monkeypatch: pytest.MonkeyPatch, pools: list[PoolSpec]
) -> None:
    memory = divide(monkeypatch, pools, 20.0)
    tokens = [
        cache_bytes(memory, SMALL_BYTES, "small") / SMALL_KV,
        cache_bytes(memory, LARGE_BYTES, "large") / LARGE_KV,
    ]
    assert tokens[0] == pytest.approx(tokens[1])
    assert memory.share_by_pool["large"] > 2 * memory.share_by_pool["small"]


def test_a_model_that_does_not_fit_is_named_with_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, pools: list[PoolSpec]
) -> None:
    with pytest.raises(ConfigError) as caught:
        divide(monkeypatch, pools, 6.0)
    assert str(caught.value) == (
        "tier large lacks 1.6 GB: it needs 4.1 GB, 2.6 GB are left of the 6.0 GB that this host "
        "has free"
    )


def test_fp32_in_place_of_bf16_counts_twice(
    monkeypatch: pytest.MonkeyPatch, pools: list[PoolSpec]
) -> None:
    monkeypatch.setattr(module, "has_bf16_instructions", lambda: False)
    memory = divide(monkeypatch, pools, 24.0)
    assert cache_bytes(memory, 2 * LARGE_BYTES, "large") > 2 * LARGE_KV * LEAST_KV_TOKENS
    in_bf16 = divide(monkeypatch, pools, 24.0, dtype="bfloat16")
    assert in_bf16.share_by_pool["large"] < memory.share_by_pool["large"]


def test_what_the_operator_gives_a_tier_is_not_divided(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small = write_model(tmp_path / "small", SMALL, SMALL_BYTES)
    given = {"mem_fraction_static": 0.7}
    tiers = [
        TierConfig(name="given", model_path=small, server_args=given),
        TierConfig(name="rest", model_path=small),
    ]
    pools = pool_specs(CascadeConfig(version=1, tiers=tiers))
    memory = divide(monkeypatch, pools, 10.0)
    assert set(memory.share_by_pool) == {"rest"}
    assert memory.share_by_pool["rest"] < 0.3
    with pytest.raises(ConfigError, match="tier rest lacks"):
        divide(monkeypatch, pools, 5.0)


def test_models_that_are_not_here_yet_share_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("somebody/small-model", "somebody/large-model")
    tiers = [TierConfig(name=name[9:14], model_path=name) for name in names]
    pools = pool_specs(CascadeConfig(version=1, tiers=tiers))
    memory = divide(monkeypatch, pools, 10.0)
    assert memory.share_by_pool == {"small": 0.125, "large": 0.125}


def test_a_worker_for_which_nothing_is_left_is_refused_before_it_starts(
    monkeypatch: pytest.MonkeyPatch, pools: list[PoolSpec]
) -> None:
    memory = divide(monkeypatch, pools, 20.0)
    memory.check_room(pools[2])
    monkeypatch.setattr(module, "free_host_bytes", lambda: int(3e9))
    memory.check_room(pools[0])
    with pytest.raises(WorkerError, match=r"tier large .* needs 4.1 GB, 3.0 GB of this host"):
        memory.check_room(pools[2])
