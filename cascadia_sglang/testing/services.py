"""The router and its services over a scripted engine, for tests."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.entry.model import EntryScorer
from cascadia_sglang.errors import WorkerLostError
from cascadia_sglang.judge.calibration import Calibration
from cascadia_sglang.metrics.counters import Metrics
from cascadia_sglang.prefix.prompt import Prompt
from cascadia_sglang.prefix.warming import Quietness
from cascadia_sglang.router.cascade import CascadeRouter
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.engine_protocol import Engine
from cascadia_sglang.router.events import AnyObserver
from cascadia_sglang.router.feedback.scores import TierScoring
from cascadia_sglang.router.request import ActiveRequest, RequestPrompt, ResponseSummary
from cascadia_sglang.router.services import Services, build_services
from cascadia_sglang.testing.engine import FakeRequest


class NoPrefiller:
    """A prefiller without any worker, so that nothing is warmed."""

    def holder(self, tier_index: int, prompt: Prompt) -> Quietness | None:
        del tier_index, prompt
        return None

    async def prefill(self, worker_id: str, prompt: Prompt, tokens: int) -> int:
        del prompt, tokens
        raise WorkerLostError(f"worker {worker_id} is gone")


def make_services(
    config: CascadeConfig,
    engine: Engine,
    *,
    metrics: Metrics | None = None,
    is_last_tier_idle: Callable[[], bool] = lambda: True,
    entry_model: EntryScorer | None = None,
    calibrations: Mapping[int, Calibration] = MappingProxyType({}),
    others: Sequence[AnyObserver] = (),
) -> Services:
    """The services of a cascade; metrics are written nowhere where none are given."""
    return build_services(
        config,
        engine,
        TierScoring(config, calibrations),
        metrics=metrics or Metrics([tier.name for tier in config.tiers]),
        prefiller=NoPrefiller(),
        is_last_tier_idle=is_last_tier_idle,
        entry_model=entry_model,
        calibrations=calibrations,
        others=others,
    )


def make_prompt(
    request: FakeRequest, config: CascadeConfig, controls: Controls | None = None
) -> RequestPrompt:
    """The first prompt of a request, as the router has it before its climb."""
    active = ActiveRequest(
        http_request=None,
        controls=controls or Controls(),
        summary=ResponseSummary(),
        deadline=None,
        rid_base="base",
        is_batch=False,
    )
    return RequestPrompt(
        prompt_id=0,
        samples=request.prompts[0],
        sample=request.prompts[0][0],
        request=active,
        controls=active.controls,
        config=config,
        ticket=None,
        arrived_s=0.0,
    )


def make_router(config: CascadeConfig, engine: Engine, **settings: Any) -> CascadeRouter:
    """A router with the services that `make_services` gives for the same arguments."""
    return CascadeRouter(make_services(config, engine, **settings))
