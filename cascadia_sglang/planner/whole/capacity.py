"""How many requests a pool can answer in time at most, whatever its batches.

An answer in time has taken at least its share of the pool's steps: its prompt at the best rate of
a prefill, its tokens at the best rate of a decoding step. A window's answers are written from its
begin to its end plus the time that a request has. So of each window's requests only as many are
in time as fit the pool's lanes then, the least work first. With exact step times the bound holds
for every run.

Shape legend: R requests, T tiers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cascadia_sglang.arrays import BoolArray, FloatArray, IntArray
from cascadia_sglang.planner.latency.surfaces import ParallelShape
from cascadia_sglang.planner.whole.least_times import LeastTimes
from cascadia_sglang.planner.workload.workload import Workload

# Windows of a workload at most, and how long one is at least, in times that a request has.
MOST_WINDOWS, LEAST_LENGTH = 32, 4.0


def least_work_s(least: LeastTimes, tier: int, shape: ParallelShape) -> FloatArray:
    """Seconds of one lane that every request's attempt takes at least, [R]."""
    new_R, tokens_R = least.new_tokens(tier)
    prefill_s = min(ms / size for size, ms in shape.times.prefill_ms) / 1e3
    most_rows = max(1, shape.limits.max_running_requests // shape.pp)
    # Between two sizes of a table the rate is between theirs; above the last it is the last's.
    last_size, last_ms = shape.times.decode_ms[-1]
    rates = [ms / size for size, ms in shape.times.decode_ms if size <= most_rows]
    rates.append(1e3 * shape.times.decode_s(most_rows) / most_rows)
    if most_rows > last_size:
        rates.append(last_ms / last_size)
    context_s = shape.times.decode_context_us / 1e6
    context_R = tokens_R * (least.input_tokens(tier) + 0.5 * (tokens_R + 1))
    work_s_R: FloatArray = new_R * prefill_s + tokens_R * min(rates) / 1e3 + context_s * context_R
    return work_s_R


def windows(workload: Workload, late_s: float) -> IntArray:
    """The window of each request, [R], from 0."""
    span_s = float(workload.arrival_s_R[-1])
    count = int(min(MOST_WINDOWS, max(1.0, span_s // (LEAST_LENGTH * late_s))))
    place_R = (workload.arrival_s_R / span_s * count).astype(np.int64)
    window_R: IntArray = np.minimum(place_R, count - 1)
    return window_R


def lanes_needed(
    work_s_R: FloatArray,
    visits_R: BoolArray,
    window_R: IntArray,
    workload: Workload,
    late_s: float,
    attainment: float,
) -> int:
    """The least number of lanes with which so many requests can be in time.

    Args:
        work_s_R: seconds of a lane that a request takes at least, all tiers of the pool together.
        visits_R: which requests visit the pool.
    """
    begins_s, ends_s = _spans(workload, window_R)
    room_s_W = ends_s - begins_s + late_s
    count = len(work_s_R)
    most_late = int(count * (1.0 - attainment) + 1e-9)
    order = np.lexsort((work_s_R, window_R))
    visiting = order[visits_R[order]]
    own_window = window_R[visiting]
    cumulated_s = np.cumsum(work_s_R[visiting])
    starts = np.searchsorted(own_window, np.arange(len(room_s_W)))
    before_s = np.concatenate(([0.0], cumulated_s))[starts]
    # Lanes with which each of these, and all lighter ones of its window, are in time.
    needed = (cumulated_s - before_s[own_window]) / room_s_W[own_window]
    if len(needed) <= most_late:
        return 1
    most_needed = np.sort(needed)[len(needed) - most_late - 1]
    return max(1, int(np.ceil(most_needed * (1.0 - 1e-9))))


def _spans(workload: Workload, window_R: IntArray) -> tuple[FloatArray, FloatArray]:
    """First and last arrival of each window."""
    numbers = np.arange(int(window_R.max()) + 1)
    first = np.searchsorted(window_R, numbers)
    last = np.searchsorted(window_R, numbers, side="right") - 1
    arrival_s_R = workload.arrival_s_R
    # A window without a request has no room, and needs none.
    return arrival_s_R[np.minimum(first, len(window_R) - 1)], arrival_s_R[np.maximum(last, 0)]


def pool_work_s(
    least: LeastTimes,
    tiers: Sequence[int],
    shapes: Sequence[ParallelShape],
    shares: Sequence[float],
) -> tuple[FloatArray, BoolArray]:
    """Least work of every request in a pool, [R], and which requests visit it."""
    reached_RT = least.reached(shares)[:, list(tiers)]
    work_RT = np.stack(
        [least_work_s(least, tier, shape) for tier, shape in zip(tiers, shapes, strict=True)],
        axis=1,
    )
    visits_R: BoolArray = np.asarray(reached_RT.any(axis=1))
    work_s_R: FloatArray = (work_RT * reached_RT).sum(axis=1)
    return work_s_R, visits_R
