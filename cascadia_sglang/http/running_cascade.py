"""The running server as HTTP sees it; `cascadia_sglang.server.server` implements it."""

from typing import Any, Protocol

from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.config.voices import Voices
from cascadia_sglang.controller.controller import Controller
from cascadia_sglang.controller.gearbox import Gearbox
from cascadia_sglang.controller.mover import Mover
from cascadia_sglang.fleet.fleet import Fleet
from cascadia_sglang.http.voices.chat_voices import ChatVoices
from cascadia_sglang.http.voices.responses_voices import ResponsesVoices
from cascadia_sglang.metrics.counters import Metrics
from cascadia_sglang.page.discarded import DiscardedAnswers
from cascadia_sglang.page.sampler import Sampler
from cascadia_sglang.page.traffic_log import TrafficLog
from cascadia_sglang.pool.pool import WorkerPool
from cascadia_sglang.router.cascade import CascadeRouter
from cascadia_sglang.self_calibration.controller import SelfCalibration


class RunningCascade(Protocol):
    """The server of a cascade, once its workers serve.

    Attributes:
        controller: None where no capacity moves by itself.
        self_calibration: None where no tier calibrates itself.
        traffic_log: what the page knows of requests.
        discarded: keeps discarded answers of the page's own requests.
        sampler: keeps the page's history.
        pools: names of the pools of workers, in tier order.
        shows_old_metric_names: whether `/metrics` has the names of the release before, too.
    """

    config: CascadeConfig
    voices: Voices
    chat_voices: ChatVoices
    responses_voices: ResponsesVoices
    pool: WorkerPool
    fleet: Fleet
    router: CascadeRouter
    mover: Mover
    gearbox: Gearbox
    controller: Controller | None
    self_calibration: SelfCalibration | None
    traffic_log: TrafficLog
    discarded: DiscardedAnswers
    sampler: Sampler
    pools: list[str]
    metrics: Metrics
    shows_old_metric_names: bool

    def flag_of(self, tier_index: int, field: str) -> Any:
        """The value of an SGLang flag that a tier's workers are started with."""
        ...

    def open_metrics(self) -> None:
        """Write metrics from now on."""
        ...
