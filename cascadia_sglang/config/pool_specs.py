"""Which tiers share workers."""

import json
from dataclasses import dataclass
from typing import Any

from cascadia_sglang.config.settings import CascadeConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSpec:
    """Tiers that name the same model with the same flags and place; their workers serve them all.

    `devices` and `gpu_share` are those of `TierConfig`.
    """

    index: int
    tiers: tuple[int, ...]
    name: str
    model_path: str
    server_args: dict[str, Any]
    replicas: int
    standby: int = 0
    devices: tuple[int, ...] | None = None
    gpu_share: float | None = None


def pool_specs(config: CascadeConfig) -> list[PoolSpec]:
    """Group a cascade's tiers into pools, in tier order."""
    grouped: dict[str, list[int]] = {}
    for index, tier in enumerate(config.tiers):
        devices = [tier.devices, tier.gpu_share]
        key = json.dumps([tier.model_path, tier.server_args, *devices], sort_keys=True, default=str)
        grouped.setdefault(key, []).append(index)
    specs = []
    for index, tiers in enumerate(grouped.values()):
        first = config.tiers[tiers[0]]
        specs.append(
            PoolSpec(
                index=index,
                tiers=tuple(tiers),
                name="+".join(config.tiers[i].name for i in tiers),
                model_path=first.model_path,
                server_args=first.server_args,
                replicas=max(config.tiers[i].replicas for i in tiers),
                standby=max(config.tiers[i].standby for i in tiers),
                devices=None if first.devices is None else tuple(first.devices),
                gpu_share=first.gpu_share,
            )
        )
    return specs
