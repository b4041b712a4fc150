"""The result of a simulation: latencies per tier and path, SLO attainment, work of the replicas.

Shape legend: R requests, T tiers.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cascadia_sglang.arrays import BoolArray, FloatArray, IntArray
from cascadia_sglang.planner.simulation.state import DONE, OUT_OF_MEMORY, TOO_LONG
from cascadia_sglang.planner.workload.slo import Slo

_QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """What one replica, or one stage's lane of it, did.

    Attributes:
        row_steps: rows summed over its batch steps.
        hit_tokens: of prompts, found in its cache.
    """

    tier: int
    busy_s: float
    steps: int
    row_steps: int
    prefill_tokens: int
    hit_tokens: int
    retracted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationResult:
    """Times of every request, in seconds; NaN where a request failed or never visited a tier.

    Attributes:
        tokens_R: of the answer.
        attempt_ttft_s_RT, attempt_e2e_s_RT: within a tier, from dispatch, the front left out.
    """

    tier_names: tuple[str, ...]
    status_R: IntArray
    last_tier_R: IntArray
    tokens_R: IntArray
    arrival_s_R: FloatArray
    e2e_s_R: FloatArray
    ttft_s_R: FloatArray
    attempt_ttft_s_RT: FloatArray
    attempt_e2e_s_RT: FloatArray
    replicas: tuple[Replica, ...]

    @property
    def is_done(self) -> BoolArray:
        """Which requests were answered."""
        done: BoolArray = self.status_R == DONE
        return done

    @property
    def makespan_s(self) -> float:
        """From the first arrival to the last answer; 0 where nothing was answered."""
        ends = (self.arrival_s_R + self.e2e_s_R)[self.is_done]
        return float(ends.max()) if len(ends) else 0.0

    def quantile_s(self, share: float) -> float:
        """Quantile of the end-to-end latency of answered requests; NaN where there is none."""
        return _quantile(self.e2e_s_R[self.is_done], share)

    def mean_s(self) -> float:
        """Mean end-to-end latency of answered requests; NaN where there is none."""
        done = self.e2e_s_R[self.is_done]
        return float(done.mean()) if len(done) else float("nan")

    def attainment(self, slo: Slo) -> float:
        """Good requests / requests sent, as `sglang/benchmark/goodput.py` counts them.

        A request is good if it was answered and met every target; failures count against.
        """
        tpot_R = np.where(
            self.tokens_R > 1,
            (self.e2e_s_R - self.ttft_s_R) / np.maximum(1, self.tokens_R - 1),
            0.0,
        )
        good_R = self.is_done.copy()
        for target_ms, seconds_R in (
            (slo.ttft_ms, self.ttft_s_R),
            (slo.tpot_ms, tpot_R),
            (slo.e2e_ms, self.e2e_s_R),
        ):
            if target_ms is not None:
                good_R &= 1000.0 * np.nan_to_num(seconds_R, nan=np.inf) <= target_ms
        return float(good_R.mean())

    def summary(self, slo: Slo | None = None) -> dict[str, Any]:
        """As `cascadia simulate --json` writes it; latencies in milliseconds."""
        done_R = self.is_done
        busy_T = [
            [r.busy_s for r in self.replicas if r.tier == tier]
            for tier in range(len(self.tier_names))
        ]
        makespan_s = max(self.makespan_s, 1e-9)
        made: dict[str, Any] = {
            "requests": len(self.status_R),
            "answered": int(done_R.sum()),
            "too_long": int((self.status_R == TOO_LONG).sum()),
            "out_of_memory": int((self.status_R == OUT_OF_MEMORY).sum()),
            "requests_per_s": float(done_R.sum()) / makespan_s,
            "e2e_ms": _quantiles_ms(self.e2e_s_R[done_R]),
            "ttft_ms": _quantiles_ms(self.ttft_s_R[done_R]),
            "tiers": [
                {
                    "name": name,
                    "reached": float(np.isfinite(self.attempt_e2e_s_RT[:, tier]).mean()),
                    "answered": float((done_R & (self.last_tier_R == tier)).mean()),
                    "busy": float(np.mean(busy_T[tier])) / makespan_s if busy_T[tier] else None,
                    "attempt_ttft_ms": _quantiles_ms(self.attempt_ttft_s_RT[:, tier]),
                    "attempt_e2e_ms": _quantiles_ms(self.attempt_e2e_s_RT[:, tier]),
                    "path_e2e_ms": _quantiles_ms(self.e2e_s_R[done_R & (self.last_tier_R == tier)]),
                    "retracted": sum(r.retracted for r in self.replicas if r.tier == tier),
                    "prefix_hit_tokens": sum(r.hit_tokens for r in self.replicas if r.tier == tier),
                }
                for tier, name in enumerate(self.tier_names)
            ],
        }
        if slo is not None:
            attained = self.attainment(slo)
            made["slo_attainment"] = attained
            made["goodput_per_s"] = attained * len(self.status_R) / makespan_s
        return made


def _quantile(values: FloatArray, share: float) -> float:
    finite = values[np.isfinite(values)]
    return float(np.quantile(finite, share)) if len(finite) else float("nan")


def _quantiles_ms(values: FloatArray) -> dict[str, float | None]:
    """None where there is no value, which JSON has no number for."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {"mean": None, **{name: None for name, _ in _QUANTILES}}
    ms = {name: 1000.0 * float(np.quantile(finite, share)) for name, share in _QUANTILES}
    return {"mean": 1000.0 * float(finite.mean()), **ms}
