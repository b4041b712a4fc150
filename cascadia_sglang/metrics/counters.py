"""The cascade's counters and histograms, beside SGLang's own on `/metrics`.

They are written in prometheus_client's multi-process form, as SGLang's are. The gauges are read
when somebody asks for `/metrics`, see `cascadia_sglang.http.metrics_page`.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Protocol

from cascadia_sglang.metrics.families import BY_NAME
from cascadia_sglang.metrics.labels import (
    ANSWER_REASONS,
    ERROR_STATUSES,
    ESCALATION_REASONS,
    FIT_OUTCOMES,
    LABEL_KINDS,
    LAST_TIER_REASONS,
    POISON_OUTCOMES,
    SHADOW_OUTCOMES,
    START_OUTCOMES,
    WARMING_OUTCOMES,
)


class CountedAttempt(Protocol):
    """What the metrics read of an attempt."""

    @property
    def tier_index(self) -> int: ...
    @property
    def score(self) -> float | None: ...
    @property
    def tokens(self) -> int: ...
    @property
    def cached_tokens(self) -> int: ...
    @property
    def kept_tokens(self) -> int | None: ...
    @property
    def reason(self) -> str: ...
    @property
    def escalated(self) -> bool: ...
    @property
    def seconds(self) -> float: ...


class _Unwritten:
    """A family of metrics that nobody reads: what is counted is dropped."""

    def labels(self, *_: str) -> "_Unwritten":
        return self

    def inc(self, amount: float = 1.0) -> None:
        del amount

    def observe(self, amount: float) -> None:
        del amount


class Metrics:
    """Writes them, once it is opened; what is counted before that is dropped.

    Args:
        tiers: their names, the smallest first.
        pools: names of the pools of workers; metrics of worker starts carry them as `tier`.
        phases: of a worker's start.
    """

    def __init__(
        self, tiers: Sequence[str], pools: Sequence[str] = (), phases: Sequence[str] = ()
    ) -> None:
        self._tiers = tiers
        self._pools = pools
        self._phases = phases
        unwritten: Any = _Unwritten()
        self._requests = self._escalations = self._poison = self._shadows = unwritten
        self._labels = self._fits = self._tokens = self._cached = self._kept = unwritten
        self._warm = self._warm_tokens = self._starts = self._start_phases = unwritten
        self._score = self._attempt = self._request = self._ttft = unwritten
        self._start = self._moves = self._solve = unwritten

    def open(self) -> None:
        """Write from now on. Call it once the directory of the multi-process form is known.

        Every series whose labels are known has a sample from then on.
        """
        tiers, pools, phases = self._tiers, self._pools, self._phases
        lower, upper = tiers[:-1], tiers[1:]
        self._requests = _family("cascadia_requests_total", lower, ANSWER_REASONS)
        for reason in LAST_TIER_REASONS:
            self._requests.labels(tiers[-1], reason)
        for status in ERROR_STATUSES:
            self._requests.labels("none", f"error_{status}")
        self._escalations = _family("cascadia_escalations_total", lower, ESCALATION_REASONS)
        self._poison = _family("cascadia_poison_total", POISON_OUTCOMES)
        self._shadows = _family("cascadia_shadow_total", lower, SHADOW_OUTCOMES)
        self._labels = _family("cascadia_labels_total", lower, LABEL_KINDS)
        self._fits = _family("cascadia_self_calibrations_total", lower, FIT_OUTCOMES)
        self._tokens = _family("cascadia_tokens_total", tiers, ("answered", "discarded"))
        self._cached = _family("cascadia_prefix_cached_tokens_total", tiers)
        self._kept = _family("cascadia_verify_kept_tokens_total", upper)
        self._warm = _family("cascadia_prefix_warm_total", upper, WARMING_OUTCOMES)
        self._warm_tokens = _family("cascadia_prefix_warm_tokens_total", upper, ("warmed", "used"))
        self._starts = _family("cascadia_worker_starts_total", pools, START_OUTCOMES)
        self._start_phases = _family("cascadia_worker_start_phase_seconds_total", pools, phases)
        self._score = _family("cascadia_score", tiers)
        self._attempt = _family("cascadia_attempt_seconds", tiers)
        self._request = _family("cascadia_request_seconds", tiers)
        self._ttft = _family("cascadia_ttft_seconds", tiers)
        self._start = _family("cascadia_worker_start_seconds", pools)
        self._moves = _family("cascadia_reallocation_seconds")
        self._solve = _family("cascadia_plan_solve_seconds")

    def answered(
        self,
        attempts: Iterable[CountedAttempt],
        chosen: CountedAttempt,
        seconds: float,
        ttft_s: float,
    ) -> None:
        """Count a prompt that got an answer."""
        tier = self._tiers[chosen.tier_index]
        self._requests.labels(tier, chosen.reason).inc()
        self._request.labels(tier).observe(seconds)
        self._ttft.labels(tier).observe(ttft_s)
        self._visited(attempts, chosen)

    def failed(self, attempts: Iterable[CountedAttempt], status: int) -> None:
        """Count a prompt that got an error with this HTTP status; 499: its client hung up."""
        self._requests.labels("none", f"error_{status}").inc()
        self._visited(attempts, None)

    def _visited(self, attempts: Iterable[CountedAttempt], chosen: CountedAttempt | None) -> None:
        for attempt in attempts:
            tier = self._tiers[attempt.tier_index]
            if attempt.seconds:
                self._attempt.labels(tier).observe(attempt.seconds)
            if attempt.score is not None:
                self._score.labels(tier).observe(attempt.score)
            if attempt.tokens:
                kind = "answered" if attempt is chosen else "discarded"
                self._tokens.labels(tier, kind).inc(attempt.tokens)
            if attempt.cached_tokens:
                self._cached.labels(tier).inc(attempt.cached_tokens)
            if attempt.kept_tokens:
                self._kept.labels(tier).inc(attempt.kept_tokens)
            if attempt.escalated:
                self._escalations.labels(tier, attempt.reason).inc()

    def poisoned(self, outcome: str) -> None:
        """Count a request that ended two workers, or one refused for having the same body."""
        self._poison.labels(outcome).inc()

    def shadowed(self, tier_index: int, outcome: str) -> None:
        """Count an accepted answer of a tier that the last tier was to be asked about."""
        self._shadows.labels(self._tiers[tier_index], outcome).inc()

    def labelled(self, tier_index: int, kind: str) -> None:
        """Count an answer of a tier of which the last tier's opinion is known."""
        self._labels.labels(self._tiers[tier_index], kind).inc()

    def self_calibrated(self, tier_index: int, outcome: str) -> None:
        """Count a fit of a tier on its own labels."""
        self._fits.labels(self._tiers[tier_index], outcome).inc()

    def warmed(self, tier_index: int, outcome: str) -> None:
        """Count a warming that was finished or left."""
        self._warm.labels(self._tiers[tier_index], outcome).inc()

    def warm_tokens(self, tier_index: int, kind: str, tokens: int) -> None:
        """Count tokens that were warmed, or used by an attempt later."""
        self._warm_tokens.labels(self._tiers[tier_index], kind).inc(tokens)

    def worker_started(self, tier: str, phases: Mapping[str, float] | None) -> None:
        """Count a start and the seconds of its phases; None for one that failed."""
        self._starts.labels(tier, "failed" if phases is None else "ready").inc()
        if phases is not None:
            self._start.labels(tier).observe(sum(phases.values()))
            for phase, seconds in phases.items():
                self._start_phases.labels(tier, phase).inc(seconds)

    def moved(self, seconds: float) -> None:
        """Count a plan that took this long to come into force."""
        self._moves.observe(seconds)

    def planned(self, seconds: float) -> None:
        """Count a plan that was asked for, whatever came of it."""
        self._solve.observe(seconds)


def _family(name: str, *label_values: Sequence[str]) -> Any:
    """A counter or histogram of the table, with a sample for all known values of its labels."""
    # It reads where to write when it is imported.
    from prometheus_client import Counter, Histogram

    family = BY_NAME[name]
    collector: Any
    if family.kind == "counter":
        collector = Counter(name, family.meaning, family.labels)
    else:
        collector = Histogram(name, family.meaning, family.labels, buckets=family.buckets)
    if family.labels:
        for values in product(*label_values):
            collector.labels(*values)
    return collector


def forget_gauges(pids: Iterable[int]) -> None:
    """Take a dead worker's gauges from the scrape; what it counted stays."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return
    for pid in pids:
        for path in Path(folder).glob(f"gauge_*_{pid}.db"):
            path.unlink(missing_ok=True)
