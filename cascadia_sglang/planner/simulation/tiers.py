"""The tiers of a simulation, and which of them share workers."""

from collections.abc import Sequence
from dataclasses import dataclass

from cascadia_sglang.planner.speed.profile import EngineLimits, StepTimes


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedTier:
    """One tier's replicas.

    Attributes:
        times: of a step on one whole device, or on the devices of a replica.
        replicas: workers that serve the tier, each alike.
        share: of its device that each has, above 0 and at most 1.
        stages: pipeline stages of a replica. Every stage's batch is a lane of its own with its
            share of requests and memory, and takes a whole step's time.
        pool: of workers that several tiers share; those of its first tier serve all. None for the
            tier's own.
        block: of tiers whose workers share devices, the first of each one, the second of each
            another, and so on. They take turns there: no overlap. None for devices of its own.
        kept_share: of the answer before, from 0 to 1, what the tier keeps of it as a draft; None
            where it writes anew.
        cached_share: of a prompt without block ids, from 0 to 1, what the tier's workers hold
            already and need not compute; it takes memory all the same, as a chat's own past does.
        prompt_length: tokens of a prompt, relative to the workload's; one for tiers of a pool.
    """

    name: str
    times: StepTimes
    limits: EngineLimits
    replicas: int = 1
    share: float = 1.0
    stages: int = 1
    pool: str | None = None
    block: str | None = None
    cached_share: float = 0.0
    kept_share: float | None = None
    prompt_length: float = 1.0


def owners_of(tiers: Sequence[SimulatedTier]) -> list[int]:
    """The tier whose replicas serve each: the first of its pool."""
    pools = [index if tier.pool is None else tier.pool for index, tier in enumerate(tiers)]
    return [pools.index(pool) for pool in pools]
