"""Cascades for tests."""

from collections.abc import Sequence
from typing import Any

from cascadia_sglang.config.routing_settings import RoutingConfig
from cascadia_sglang.config.settings import CascadeConfig, JudgeConfig, TierConfig


def make_cascade(
    *names: str, thresholds: Sequence[float] = (), judge: JudgeConfig | None = None, **routing: Any
) -> CascadeConfig:
    """A cascade without files behind it.

    Args:
        names: of the tiers, smallest first.
        thresholds: 0.8 throughout where neither they nor an `escalation_rate` are given.
        routing: further fields of `RoutingConfig`.
    """
    if "escalation_rate" not in routing:
        routing["thresholds"] = list(thresholds) or [0.8] * (len(names) - 1)
    return CascadeConfig(
        version=1,
        tiers=[TierConfig(name=name, model_path=f"/models/{name}") for name in names],
        routing=RoutingConfig(**routing),
        judge=judge or JudgeConfig(),
    )
