"""Which part of a device's memory each worker has."""

from pathlib import Path
from typing import Any

import pytest

from cascadia_sglang.config.pool_specs import pool_specs
from cascadia_sglang.config.settings import CascadeConfig, TierConfig
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.memory.cards import Card, sheet_cards
from cascadia_sglang.memory.fit import MemoryShape, PoolMemory, pool_memory
from cascadia_sglang.memory.runtime import CONTEXT_BYTES, reserve_bytes
from cascadia_sglang.planner.speed.roofline import LEAST_KV_TOKENS
from tests.unit.examples.models import write_models


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("models")
    write_models(folder)
    return folder / "models"


def divide(
    models: Path, cards: list[Card], shapes: dict[str, MemoryShape] | None = None, **tiers: Any
) -> dict[str, PoolMemory]:
    built = [
        TierConfig(name=name, model_path=str(models / model), **settings)
        for name, (model, settings) in tiers.items()
    ]
    pools = pool_specs(CascadeConfig(version=1, tiers=built))
    memory_by_pool = pool_memory(
        pools, {pool.name: MemoryShape() for pool in pools} | (shapes or {}), cards
    )
    return {memory.name: memory for memory in memory_by_pool}


def test_on_one_card_the_larger_model_has_the_larger_share_and_both_hold_as_many_tokens(
    models: Path,
) -> None:
    memory_by_pool = divide(
        models, sheet_cards(1, "H100"), small=("Qwen3-0.6B", {}), large=("Qwen3-8B", {})
    )
    small, large = memory_by_pool["small"], memory_by_pool["large"]
    assert small.share is not None
    assert large.share is not None
    assert 0.98 < small.share + large.share <= 1.0
    assert large.share > 1.5 * small.share
    assert small.kv_tokens == pytest.approx(large.kv_tokens, rel=0.02)
    assert small.kv_tokens > LEAST_KV_TOKENS


def test_a_worker_that_has_its_card_alone_has_no_share(models: Path) -> None:
    memory_by_pool = divide(
        models, sheet_cards(2, "H100"), small=("Qwen3-0.6B", {}), large=("Qwen3-8B", {})
    )
    assert {memory.share for memory in memory_by_pool.values()} == {None}


def test_a_share_that_was_given_stays_and_the_others_have_the_rest(models: Path) -> None:
    memory_by_pool = divide(
        models,
        sheet_cards(1, "H100"),
        small=("Qwen3-0.6B", {"gpu_share": 0.25}),
        large=("Qwen3-8B", {}),
    )
    assert memory_by_pool["small"].share == 0.25
    assert 0.74 < memory_by_pool["large"].share <= 0.75


def test_what_others_hold_of_a_card_is_not_divided(models: Path) -> None:
    half = [Card(name="H100", total_bytes=80e9, free_bytes=40e9)]
    memory_by_pool = divide(models, half, small=("Qwen3-0.6B", {}), large=("Qwen3-8B", {}))
    assert sum(memory.device_bytes for memory in memory_by_pool.values()) <= 40e9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"small": {"gpu_share": 0.6}, "large": {"gpu_share": 0.6}},
            "no device has 0.6 of its memory left",
        ),
        (
            {"small": {"gpu_share": 1.0, "devices": [0]}, "large": {}},
            "sums to 1, nothing is left for large",
        ),
        (
            {"small": {"gpu_share": 0.05}, "large": {}},
            r"tier small lacks \d\.\d GB: a worker needs \d+\.\d GB of each device \(1\.5 GB",
        ),
    ],
)
def test_a_share_that_cannot_be_is_refused_in_a_line(
    models: Path, settings: dict[str, dict[str, Any]], message: str
) -> None:
    tiers = {"small": ("Qwen3-0.6B", settings["small"]), "large": ("Qwen3-8B", settings["large"])}
    with pytest.raises(ConfigError, match=message):
        divide(models, sheet_cards(1, "H100"), **tiers)


def test_a_fraction_of_the_operator_is_one_of_the_share(models: Path) -> None:
    tiers = {"small": ("Qwen3-0.6B", {}), "large": ("Qwen3-4B", {})}
    usual = divide(models, sheet_cards(1, "L4"), **tiers)
    tight = {name: MemoryShape(static=0.95) for name in tiers}
    memory_by_pool = divide(models, sheet_cards(1, "L4"), tight, **tiers)
    assert memory_by_pool["small"].kv_tokens > 2 * usual["small"].kv_tokens


def test_tensor_parallel_ranks_divide_the_weights(models: Path) -> None:
    shapes = {"large": MemoryShape(tp_size=2)}
    memory_by_pool = divide(models, sheet_cards(2, "H100"), shapes, large=("Qwen3-32B", {}))
    assert memory_by_pool["large"].weights_bytes == 65_524_246_528 / 2
    with pytest.raises(ConfigError, match="tier large lacks"):
        divide(models, sheet_cards(1, "H100"), large=("Qwen3-32B", {}))


def test_what_sglang_keeps_free_of_an_h100_is_known() -> None:
    # SGLang resolves mem_fraction_static to 0.83 there.
    size = 81_559 * 2**20
    assert round(1 - reserve_bytes(size, 1, 1) / size, 2) == 0.83
    assert CONTEXT_BYTES < 1e9
