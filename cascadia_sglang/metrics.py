"""The cascade's metrics, beside SGLang's own on `/metrics`.

They are written in prometheus_client's multi-process form, as SGLang's are, so one scrape of the
server shows both.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 180.0)
_START_SECONDS = (1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 180.0, 600.0)
_SCORES = tuple(step / 20 for step in range(1, 21))


class Visit(Protocol):
    """What the metrics read of a request's visit to a tier."""

    @property
    def tier_index(self) -> int: ...
    @property
    def score(self) -> float | None: ...
    @property
    def tokens(self) -> int: ...
    @property
    def cached_tokens(self) -> int: ...
    @property
    def kept(self) -> int | None: ...
    @property
    def reason(self) -> str: ...
    @property
    def escalated(self) -> bool: ...
    @property
    def seconds(self) -> float: ...


class Metrics:
    """Writes them. Build it once the directory of the multi-process form is known.

    Args:
        tiers: their names.
    """

    def __init__(self, tiers: Sequence[str]) -> None:
        # It reads where to write when it is imported.
        from prometheus_client import Counter, Gauge, Histogram

        def counter(name: str, text: str, *labels: str) -> Any:
            return Counter(f"cascadia:{name}", text, labels)

        def histogram(name: str, text: str, buckets: Sequence[float]) -> Any:
            return Histogram(f"cascadia:{name}", text, ("tier",), buckets=buckets)

        self._tiers = tiers
        self._requests = counter("requests_total", "Client requests.", "tier", "reason")
        self._escalations = counter(
            "escalations_total", "Answers that were not good enough.", "from_tier", "reason"
        )
        self._shadows = counter(
            "shadow_total", "Accepted answers given by the last tier too.", "tier", "outcome"
        )
        self._tokens = counter("tokens_total", "Generated tokens.", "tier", "kind")
        self._cached = counter(
            "prefix_cached_tokens_total", "Prompt tokens found in a prefix cache.", "tier"
        )
        self._kept = counter(
            "verify_kept_tokens_total", "Tokens of a smaller tier's draft in answers.", "tier"
        )
        self._warm = counter("prefix_warm_total", "Warmings of a tier.", "tier", "outcome")
        self._warm_tokens = counter(
            "prefix_warm_tokens_total", "Tokens warmed, and found by attempts.", "tier", "kind"
        )
        self._starts = counter("worker_starts_total", "Worker starts.", "tier", "outcome")
        self._start_phases = counter(
            "worker_start_phase_seconds_total", "Seconds of worker starts.", "tier", "phase"
        )
        self._score = histogram("score", "Calibrated scores of answers.", _SCORES)
        self._attempt = histogram("attempt_seconds", "Attempts.", _SECONDS)
        self._request = histogram("request_seconds", "Requests, by answering tier.", _SECONDS)
        self._ttft = histogram("ttft_seconds", "Time to the first byte.", _SECONDS)
        self._start = histogram("worker_start_seconds", "Worker starts.", _START_SECONDS)
        self._moves = Histogram(
            "cascadia:reallocation_seconds", "Changes of the plan in force.", buckets=_START_SECONDS
        )
        self._solve = Histogram(
            "cascadia:plan_solve_seconds", "Plans asked of the planner.", buckets=_SECONDS
        )
        self._plan = Gauge(
            "cascadia:plan_number", "The plan in force.", multiprocess_mode="mostrecent"
        )
        self._gear = Gauge(
            "cascadia:gear", "0: the plan's thresholds.", multiprocess_mode="mostrecent"
        )
        self._workers = Gauge(
            "cascadia:workers",
            "Workers by state.",
            ("tier", "state"),
            multiprocess_mode="mostrecent",
        )
        self._shown: set[tuple[str, str]] = set()

    def answered(
        self, visits: Iterable[Visit], chosen: Visit, seconds: float, ttft_s: float
    ) -> None:
        """Count a prompt that got an answer."""
        tier = self._tiers[chosen.tier_index]
        self._requests.labels(tier, chosen.reason).inc()
        self._request.labels(tier).observe(seconds)
        self._ttft.labels(tier).observe(ttft_s)
        self._visited(visits, chosen)

    def failed(self, visits: Iterable[Visit], status: int) -> None:
        """Count a prompt that got an error, or that nobody waited for any more."""
        self._requests.labels("none", f"error_{status}").inc()
        self._visited(visits, None)

    def _visited(self, visits: Iterable[Visit], chosen: Visit | None) -> None:
        for visit in visits:
            tier = self._tiers[visit.tier_index]
            if visit.seconds:
                self._attempt.labels(tier).observe(visit.seconds)
            if visit.score is not None:
                self._score.labels(tier).observe(visit.score)
            if visit.tokens:
                kind = "answered" if visit is chosen else "discarded"
                self._tokens.labels(tier, kind).inc(visit.tokens)
            if visit.cached_tokens:
                self._cached.labels(tier).inc(visit.cached_tokens)
            if visit.kept:
                self._kept.labels(tier).inc(visit.kept)
            if visit.escalated:
                self._escalations.labels(tier, visit.reason).inc()

    def shadowed(self, tier_index: int, outcome: str) -> None:
        """Count an accepted answer of a tier that was chosen for the last tier to give too."""
        self._shadows.labels(self._tiers[tier_index], outcome).inc()

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

    def moved(self, number: int, seconds: float) -> None:
        """Show the number of the plan in force, which took this long to come into force."""
        self._plan.set(number)
        self._moves.observe(seconds)

    def shifted(self, gear: int) -> None:
        """Show the gear in force."""
        self._gear.set(gear)

    def planned(self, seconds: float) -> None:
        """Count a plan that was asked for, whatever came of it."""
        self._solve.observe(seconds)

    def show_workers(self, counts: dict[tuple[str, str], int]) -> None:
        """Show how many workers of a tier are in a state; what is not named is 0."""
        self._shown |= counts.keys()
        for tier, state in self._shown:
            self._workers.labels(tier, state).set(counts.get((tier, state), 0))


def forget_gauges(pids: Iterable[int]) -> None:
    """Take a dead worker's gauges from the scrape; what it counted stays."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return
    for pid in pids:
        for path in Path(folder).glob(f"gauge_*_{pid}.db"):
            path.unlink(missing_ok=True)
