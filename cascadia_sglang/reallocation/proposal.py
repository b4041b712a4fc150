"""The planner's answer to a running server: a plan, and its predicted latency and quality."""

from __future__ import annotations

import msgspec

from cascadia_sglang.planner.capacity_types import Capacity


class PredictedQuality(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Share of right answers to traffic like the window's, by a sample that is weighted so.

    Attributes:
        current, predicted: under the thresholds in force and under the proposal's.
        effective_size: prompts of the sample that the weighted one is worth.
    """

    floor: float
    current: float
    predicted: float
    effective_size: float

    @property
    def is_restored(self) -> bool:
        """Whether the floor is kept by the proposal alone."""
        return self.current < self.floor <= self.predicted


class Proposal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan for the traffic of now, and what it and the plan in force would do with it.

    Attributes:
        pools: what every pool is to have.
        thresholds: None where they stay.
        quality: None where no sample told it.
        current_s, predicted_s: mean latency of a request with the plan in force and with this one.
        interim_extra_s: by how much the mean latency is higher while replicas start, with only
            those that both plans have.
        solve_s: that the planner took.
    """

    pools: dict[str, Capacity]
    thresholds: tuple[float, ...] | None = None
    quality: PredictedQuality | None = None
    current_s: float
    predicted_s: float
    interim_extra_s: float = 0.0
    solve_s: float
