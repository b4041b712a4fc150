"""A worker that is as fast as an emulated device: every forward takes the time a profile says.

For benches and tests on a host whose workers share its cores: engine, queues and caches are real,
the speed of the device is the profile's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cascadia_sglang.config.pool_specs import pool_specs
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.messages import PaceSpec
from cascadia_sglang.planner.speed.profile import StepTimes, load_profile
from cascadia_sglang.worker.batch_shape import BatchShape, shape_of

if TYPE_CHECKING:
    from sglang.srt.managers.schedule_batch import ScheduleBatch

T = TypeVar("T")


def pace_specs(config: CascadeConfig) -> dict[int, PaceSpec]:
    """The emulated device of each pool's workers, by pool index; empty without `planner.emulate`.

    The budget's devices are shared evenly by the workers of a start, at most one device each.

    Raises:
        ConfigError: if the profile cannot be read, or lacks a tier.
    """
    emulate, budget = config.planner.emulate, config.planner.gpu_budget
    if emulate is None:
        return {}
    profile = load_profile(Path(emulate))
    pools = pool_specs(config)
    workers = sum(pool.replicas for pool in pools)
    share = 1.0 if budget is None else min(1.0, budget / workers)
    specs = {}
    for pool in pools:
        tier = config.tiers[pool.tiers[0]].name
        if tier not in profile.tiers:
            tiers = ", ".join(sorted(profile.tiers))
            raise ConfigError(f"profile {emulate}: no tier {tier!r}, it has: {tiers}")
        specs[pool.index] = PaceSpec(profile=emulate, tier=tier, share=share)
    return specs


class Pace:
    """Holds a worker's forwards back to the speed of its share of a device."""

    def __init__(self, times: StepTimes, share: float) -> None:
        self._times = times
        self._share = share

    @classmethod
    def from_spec(cls, spec: PaceSpec) -> Pace:
        """Load the step times of the worker's tier."""
        return cls(load_profile(Path(spec.profile)).tiers[spec.tier], spec.share)

    def step_s(self, shape: BatchShape) -> float:
        """Seconds that a batch of this shape takes."""
        if shape.is_decode:
            whole = self._times.decode_s(shape.rows, shape.context_tokens)
        else:
            whole = self._times.prefill_s(shape.tokens, shape.rows, shape.context_pairs)
        return whole / self._share

    def run(self, forward: Callable[[], T], batch: ScheduleBatch) -> T:
        """Run the forward of a batch, then sleep for what is left of its time, if anything."""
        started = time.monotonic()
        seconds = self.step_s(shape_of(batch))
        result = forward()
        time.sleep(max(0.0, started + seconds - time.monotonic()))
        return result
