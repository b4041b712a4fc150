"""The page `GET /metrics`: SGLang's metrics, the cascade's, and current gauges.

A gauge of the multi-process form stays with the value that somebody last wrote, and a series with
labels that have changed never goes. So the cascade's gauges are read when they are asked for.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from cascadia_sglang.controller.mover import Mover
from cascadia_sglang.metrics.families import BY_NAME
from cascadia_sglang.pool.pool import WorkerPool, WorkerState
from cascadia_sglang.router.cascade import CascadeRouter
from cascadia_sglang.self_calibration.controller import SelfCalibration
from cascadia_sglang.version import __version__

# A worker that is dead is in no pool any more.
WORKER_STATES = tuple(state.value for state in WorkerState if state is not WorkerState.DEAD)


class Gauges:
    """Reads the cascade's gauges; a collector of prometheus_client."""

    def __init__(
        self,
        pools: Sequence[str],
        workers: WorkerPool,
        router: CascadeRouter,
        mover: Mover,
        self_calibration: SelfCalibration | None = None,
    ) -> None:
        """`pools` are the names that the workers' pools have."""
        self._pools = pools
        self._workers = workers
        self._router = router
        self._mover = mover
        self._self_calibration = self_calibration

    def collect(self) -> Iterator[Any]:
        """The gauges of the table, one after the other."""
        census = self._workers.census()
        config = self._router.config
        tiers = [tier.name for tier in config.tiers]
        scores = self._router.services.scores
        below = list(enumerate(tiers[:-1]))
        yield _gauge(
            "cascadia_workers",
            {(p, state): census[p, state] for p in self._pools for state in WORKER_STATES},
        )
        yield _gauge("cascadia_plan_number", {(): self._mover.number})
        yield _gauge("cascadia_gear", {(): self._router.gear})
        yield _gauge(
            "cascadia_threshold",
            {(tier,): _number(scores.threshold(index)) for index, tier in below},
        )
        yield _gauge(
            "cascadia_calibrated",
            {(tier,): scores.source(index).is_calibrated for index, tier in below},
        )
        yield _gauge("cascadia_judge_alarm", self._alarms(below))
        yield _gauge(
            "cascadia_escalation_rate_asked",
            {(tier,): _number(scores.rate(index)) for index, tier in below},
        )
        yield _gauge(
            "cascadia_escalation_rate",
            {(tier,): _number(scores.recent_rate(index)) for index, tier in below},
        )
        engine = self._router.services.engine
        yield _gauge(
            "cascadia_tokens_per_step",
            {(tier,): _number(engine.tokens_per_step(i)) for i, tier in enumerate(tiers)},
        )
        calibrating = self._self_calibration
        labels = {} if calibrating is None else calibrating.effective_labels()
        yield _gauge(
            "cascadia_effective_labels",
            {(name,): labels.get(tier, 0.0) for tier, name in enumerate(tiers[:-1])},
        )
        numbers = ",".join(f"{threshold:g}" for threshold in config.routing.thresholds)
        yield _gauge("cascadia_info", {(__version__, ",".join(tiers), numbers): 1})

    def _alarms(self, below: Sequence[tuple[int, str]]) -> dict[tuple[str, ...], float]:
        """By tier and kind: whether its alarm fires now, as the status has it."""
        services = self._router.services
        alarms: dict[tuple[str, ...], float] = {}
        for index, tier in below:
            watch, shadow = services.drift.watch(index), services.shadow.watches.get(index)
            alarms[tier, "drift"] = watch is not None and watch.is_alarm
            alarms[tier, "agreement"] = shadow is not None and shadow.state().is_alarm
        return alarms


def _number(value: float | None) -> float:
    """As a sample says it: NaN where there is none."""
    return math.nan if value is None else value


def _gauge(name: str, values: dict[tuple[str, ...], float]) -> Any:
    from prometheus_client.core import GaugeMetricFamily

    family = BY_NAME[name]
    gauge = GaugeMetricFamily(name, family.meaning, labels=family.labels)
    for labels, value in values.items():
        gauge.add_metric(labels, value)
    return gauge


class WithOldNames:
    """Another collector's metrics, and those of the cascade under their old names with a colon."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def collect(self) -> Iterator[Any]:
        """Each metric, and its copy where it had an old name."""
        for metric in self._inner.collect():
            yield metric
            suffix = "_total" if metric.type == "counter" else ""
            family = BY_NAME.get(metric.name + suffix)
            if family is not None and family.had_colon:
                yield _renamed(metric)


def _renamed(metric: Any) -> Any:
    from prometheus_client.core import Metric

    def old(name: str) -> str:
        return name.replace("cascadia_", "cascadia:", 1)

    copy = Metric(old(metric.name), metric.documentation, metric.type)
    copy.samples = [sample._replace(name=old(sample.name)) for sample in metric.samples]
    return copy


class MetricsPage:
    """The application behind `/metrics`.

    An OpenMetrics reader that allows no other letters in names gets no old names: there a colon
    becomes an underscore, and every series would stand twice.
    """

    def __init__(self, gauges: Any, shows_old_names: bool) -> None:
        """Build it once the directory of the multi-process form is known."""
        from prometheus_client import CollectorRegistry, make_asgi_app, multiprocess

        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        registry.register(gauges)
        self._page: ASGIApp = make_asgi_app(registry)
        self._page_with_old_names = self._page
        if shows_old_names:
            both = CollectorRegistry()
            both.register(WithOldNames(registry))
            self._page_with_old_names = make_asgi_app(both)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        page = self._page if _loses_colons(scope["headers"]) else self._page_with_old_names
        await page(scope, receive, send)


def _loses_colons(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    from prometheus_client.exposition import choose_encoder

    accept = ",".join(value.decode("latin-1") for name, value in headers if name == b"accept")
    _, content_type = choose_encoder(accept)
    is_open_metrics = content_type.startswith("application/openmetrics-text")
    return is_open_metrics and not content_type.endswith("escaping=allow-utf-8")
