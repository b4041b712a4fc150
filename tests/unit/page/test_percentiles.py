"""Percentiles from narrow buckets, against NumPy on the times themselves."""

import random
import tracemalloc
from collections import Counter

import numpy as np
import pytest

from cascadia_sglang.page.percentiles import (
    BUCKETS,
    MINUTES,
    MOST_PATHS,
    OTHER_PATHS,
    QUANTILES,
    LatencyHour,
    bucket_of,
    quantiles,
    seconds_of,
)

# Most memory of an hour, in bytes.
MOST_HOUR_BYTES = 5_000_000
# Half a bucket of a sixteenth of an octave.
OFF = 2 ** (1 / 32) * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_quantiles_are_within_half_a_bucket_of_those_of_the_times(seed: int) -> None:
    rng = random.Random(seed)
    times = [rng.lognormvariate(-1.0, 1.5) for _ in range(rng.randint(1, 400))]
    counts_B = np.bincount([bucket_of(time) for time in times], minlength=BUCKETS)
    estimated = quantiles(counts_B.astype(np.uint32))
    exact = np.quantile(times, QUANTILES, method="inverted_cdf")
    assert estimated is not None
    for estimate, true in zip(estimated, exact, strict=True):
        assert estimate / true < OFF + 1e-3
        assert true / estimate < OFF + 1e-3


def test_a_bucket_holds_its_middle() -> None:
    assert [bucket_of(seconds_of(bucket)) for bucket in range(380)] == list(range(380))
    assert bucket_of(0.0) == 0
    assert bucket_of(1e9) == bucket_of(1e8)


def test_no_request_has_no_percentile() -> None:
    assert quantiles(np.zeros(BUCKETS, np.uint32)) is None
    assert LatencyHour().summary(0.0)["hour"] == {}


def test_an_hour_forgets_what_is_older_and_adds_up_the_rest() -> None:
    rng, hour, notes = random.Random(1), LatencyHour(), []
    for minute in range(100):
        for _ in range(rng.randint(0, 5)):
            at = 60.0 * minute + rng.uniform(0, 59)
            path = rng.choice(["small", "small>large", "large"])
            seconds = rng.uniform(0.01, 2.0)
            notes.append((minute, path, seconds))
            hour.note(at, path, seconds / 2, seconds)
    summary = hour.summary(60.0 * 99 + 59)
    recent = [note for note in notes if note[0] > 99 - MINUTES]
    counts = Counter(path for _, path, _ in recent)
    assert {path: latency["requests"] for path, latency in summary["hour"].items()} == counts
    by_tier = Counter(path.rpartition(">")[2] for _, path, _ in recent)
    assert {
        tier: latency["requests"] for tier, latency in summary["hour_by_tier"].items()
    } == by_tier
    minutes = {row["at"] // 60 for row in summary["minutes"]}
    assert minutes == {minute for minute, _, _ in recent}
    every = sum(path["requests"] for row in summary["minutes"] for path in row["paths"].values())
    assert every == len(recent)


def test_many_paths_of_a_minute_share_a_name() -> None:
    hour = LatencyHour()
    for number in range(40):
        hour.note(30.0, f"path{number}", 0.1, 0.2)
    summary = hour.summary(30.0)["hour"]
    assert len(summary) == MOST_PATHS + 1
    assert summary[OTHER_PATHS]["requests"] == 40 - MOST_PATHS


def test_the_memory_of_an_hour_does_not_grow_with_its_requests() -> None:
    hour, minutes = LatencyHour(), 3
    tracemalloc.start()
    try:
        for number in range(minutes * 2 * MOST_PATHS * BUCKETS):
            minute, rest = divmod(number, 2 * MOST_PATHS * BUCKETS)
            path, bucket = divmod(rest, BUCKETS)
            hour.note(60.0 * minute, f"path{path}", seconds_of(bucket), seconds_of(bucket))
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < MOST_HOUR_BYTES * minutes / MINUTES
