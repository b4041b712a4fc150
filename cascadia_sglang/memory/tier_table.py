"""The table of a cascade's tiers: models, memory, devices, score models."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascadia_sglang.capacity.devices import devices_of
from cascadia_sglang.capacity.types import Node
from cascadia_sglang.config.escalation import ranked_tiers
from cascadia_sglang.config.label_settings import self_calibrated_tiers
from cascadia_sglang.config.pool_specs import PoolSpec, pool_specs
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.memory.cards import Card
from cascadia_sglang.memory.fit import MemoryShape, PoolMemory, pool_memory
from cascadia_sglang.memory.host import HostFlags, HostMemory, host_memory
from cascadia_sglang.memory.weights import parameter_count, weight_bytes
from cascadia_sglang.models.local_files import local_folder

_COLUMNS = (
    "tier",
    "model",
    "parameters",
    "weights",
    "KV cache",
    "KV tokens",
    "devices",
    "calibration",
    "speculation",
)
_NUMBERS = ("parameters", "weights", "KV cache", "KV tokens")
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Memory:
    """What a tier's workers have, in words."""

    weights: str
    cache: str
    tokens: str
    devices: str


def tier_table(config: CascadeConfig, flags: Mapping[str, Any], cards: Sequence[Card]) -> list[str]:
    """A heading and a line for every tier; gigabytes are of each device, or of the host.

    Args:
        flags: SGLang flags of the command line, by field name; those not given may be missing.
        cards: the accelerators; empty for this host's own memory.

    Raises:
        ConfigError: if a model does not fit; names the tier, what it needs and what there is.
    """
    pools = pool_specs(config)
    flags_by_pool = {pool.name: {**flags, **pool.server_args} for pool in pools}
    head, memory = (
        _on_cards(pools, flags_by_pool, cards) if cards else _on_host(pools, flags_by_pool)
    )
    rows = [_COLUMNS]
    for index, tier in enumerate(config.tiers):
        pool = next(candidate for candidate in pools if index in candidate.tiers)
        pool_row = memory[pool.name]
        folder = local_folder(tier.model_path)
        rows.append(
            (
                tier.name,
                _shortened(tier.model_path),
                _counted(None if folder is None else parameter_count(folder)),
                pool_row.weights,
                pool_row.cache,
                pool_row.tokens,
                pool_row.devices,
                _calibration(config, index),
                str(flags_by_pool[pool.name].get("speculative_algorithm") or "-"),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return [head, *(_line(row, widths) for row in rows)]


def _on_cards(
    pools: Sequence[PoolSpec], flags: Mapping[str, Mapping[str, Any]], cards: Sequence[Card]
) -> tuple[str, dict[str, _Memory]]:
    shapes = {
        name: MemoryShape(
            tp_size=int(pool_flags.get("tp_size") or 1),
            pp_size=int(pool_flags.get("pp_size") or 1),
            static=pool_flags.get("mem_fraction_static"),
        )
        for name, pool_flags in flags.items()
    }
    node = Node(gpu=cards[0].name, devices=len(cards))
    memory = {
        pool.name: _Memory(
            weights=_gigabytes(pool.weights_bytes),
            devices=_devices(pool, node),
            **_cache(flags[pool.name], pool.kv_bytes, pool.kv_tokens),
        )
        for pool in pool_memory(pools, shapes, cards)
    }
    least = min(card.free_bytes for card in cards) / 1e9
    return f"{len(cards)} x {cards[0].name}, {least:.1f} GB free on each", memory


def _on_host(
    pools: Sequence[PoolSpec], flags: Mapping[str, Mapping[str, Any]]
) -> tuple[str, dict[str, _Memory]]:
    host_flags = {name: HostFlags.of(pool_flags) for name, pool_flags in flags.items()}
    divided = host_memory(pools, host_flags)
    memory = {
        pool.name: _host_memory(pool, host_flags[pool.name], flags, divided) for pool in pools
    }
    return f"this host, {divided.free_bytes / 1e9:.1f} GB free", memory


def _host_memory(
    pool: PoolSpec,
    host_flags: HostFlags,
    flags: Mapping[str, Mapping[str, Any]],
    divided: HostMemory,
) -> _Memory:
    folder = local_folder(pool.model_path)
    ranks = host_flags.tp_size * host_flags.pp_size
    weights = None if folder is None else weight_bytes(folder, host_flags.served_bytes) / ranks
    share = divided.share_by_pool.get(pool.name, host_flags.mem_fraction_static or 0.0)
    need = next((candidate for candidate in divided.needs if candidate.name == pool.name), None)
    cache = tokens = None
    if need is not None and need.kv_bytes:
        cache = share * divided.free_bytes - need.weights_bytes - need.own_bytes
        tokens = int(cache / need.kv_bytes)
    return _Memory(
        weights=_gigabytes(weights),
        devices=f"{share:.3f} of the host",
        **_cache(flags[pool.name], cache, tokens),
    )


def _cache(
    flags: Mapping[str, Any], cache_bytes: float | None, tokens: int | None
) -> dict[str, str]:
    """Size and tokens of a key-value pool, which `max_total_tokens` bounds."""
    most = flags.get("max_total_tokens")
    if tokens and cache_bytes is not None and most is not None and most < tokens:
        cache_bytes, tokens = cache_bytes * most / tokens, most
    return {
        "cache": _gigabytes(cache_bytes),
        "tokens": _UNKNOWN if tokens is None else f"{tokens:,}",
    }


def _devices(memory: PoolMemory, node: Node) -> str:
    places = " ".join(
        "+".join(str(device) for _, _, device in devices_of(replica, node.devices))
        for replica in memory.replicas
    )
    return places if memory.share is None else f"{places} ({memory.share:.3f} of each)"


def _calibration(config: CascadeConfig, index: int) -> str:
    """What scores a tier's answers: a file, or the rank, which `self` replaces by its own labels.

    Nothing where no score decides.
    """
    if config.tiers[index].calibration is not None:
        return "file"
    if index in self_calibrated_tiers(config):
        return "self"
    return "rank" if index in ranked_tiers(config) else "-"


def _shortened(model_path: str) -> str:
    path = Path(model_path)
    return path.name if path.is_absolute() or len(model_path) > 40 else model_path


def _counted(parameters: float | None) -> str:
    if parameters is None:
        return _UNKNOWN
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if parameters >= size:
            return f"{parameters / size:.2f} {unit}"
    return f"{parameters:.0f}"


def _gigabytes(size: float | None) -> str:
    if size is None:
        return _UNKNOWN
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e9:.3f} GB"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    align: dict[bool, Callable[[str, int], str]] = {True: str.rjust, False: str.ljust}
    cells = [
        align[name in _NUMBERS](text, width)
        for name, text, width in zip(_COLUMNS, row, widths, strict=True)
    ]
    return "  ".join(cells).rstrip()
