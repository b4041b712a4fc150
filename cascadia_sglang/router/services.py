"""The services that every prompt uses, built once and complete."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from cascadia_sglang.config.label_settings import label_rate
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.drafts.policy import DraftPolicy
from cascadia_sglang.entry.model import EntryScorer
from cascadia_sglang.judge.calibration import Calibration
from cascadia_sglang.metrics.counters import Metrics
from cascadia_sglang.prefix.warming import Prefiller, Warmer
from cascadia_sglang.router.engine_protocol import Engine
from cascadia_sglang.router.entry_rules import CheapestTier, EntryRule, entry_rule
from cascadia_sglang.router.events import AnyObserver, Observers
from cascadia_sglang.router.feedback.calibration_drift import CalibrationDrift
from cascadia_sglang.router.feedback.kept_drafts import KeptDrafts
from cascadia_sglang.router.feedback.prompt_metrics import PromptMetrics
from cascadia_sglang.router.feedback.scores import TierScoring
from cascadia_sglang.router.feedback.shadow import Shadow
from cascadia_sglang.router.feedback.spans import Spans
from cascadia_sglang.router.feedback.tier_counts import TierCounts
from cascadia_sglang.router.feedback.used_prefixes import UsedPrefixes
from cascadia_sglang.router.poison_requests import Suspects


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What all prompts share.

    Attributes:
        config: as the server started; the router has the thresholds in force.
        engine: runs attempts.
        scores: what scores each tier's answers, and the thresholds.
        suspects: who may have ended a worker, and which workers are there for whom.
        entry: at which tier a prompt begins.
        entry_model: the chance of acceptance by the prompt alone; None where none is configured.
        warmer: fills the next tier's prefix cache ahead of time.
        drafts: which drafts a tier reads.
        shadow: asks the last tier about a share of the answers.
        drift: how far each tier's answers are from its calibration's.
        counts: answers and escalations of each tier.
        spans: of the requests, where SGLang traces.
        observers: who hears of prompts.
    """

    config: CascadeConfig
    engine: Engine
    scores: TierScoring
    suspects: Suspects
    entry: EntryRule
    entry_model: EntryScorer | None
    warmer: Warmer
    drafts: DraftPolicy
    shadow: Shadow
    drift: CalibrationDrift
    counts: TierCounts
    spans: Spans
    observers: Observers


def build_services(
    config: CascadeConfig,
    engine: Engine,
    scores: TierScoring,
    *,
    metrics: Metrics,
    prefiller: Prefiller,
    is_last_tier_idle: Callable[[], bool],
    entry_model: EntryScorer | None = None,
    calibrations: Mapping[int, Calibration] = MappingProxyType({}),
    others: Sequence[AnyObserver] = (),
) -> Services:
    """The services that a cascade's settings ask for.

    Args:
        prefiller: computes prompts ahead of time on the workers.
        is_last_tier_idle: whether a worker of the last tier has nothing to do.
        calibrations: of the tier indices that start with one.
        others: hear of every prompt besides.
    """
    tiers = len(config.tiers)
    suspects = Suspects(engine.workers, engine.passed_over, metrics)
    engine.watch_workers(suspects.schedule)
    entry = entry_rule(config, engine, entry_model)
    prefix = config.prefix
    warmer = Warmer(prefiller, prefix.warm, prefix.warm_chunk, tiers, metrics)
    drafts = DraftPolicy(config.drafts(), tiers)
    rate = label_rate(config)
    shadow = Shadow(engine, rate, metrics, is_last_tier_idle, last_tier=tiers - 1)
    for tier, calibration in calibrations.items():
        shadow.watch(tier, calibration)
    drift = CalibrationDrift(calibrations)
    counts = TierCounts(tiers)
    spans = Spans([tier.name for tier in config.tiers])
    observers: list[AnyObserver] = [
        counts,
        drift,
        PromptMetrics(metrics),
        shadow,
        spans,
    ]
    # Nothing is learned of what is off.
    if drafts.is_on:
        observers.append(KeptDrafts(drafts))
    if warmer.is_on:
        observers.append(UsedPrefixes(warmer, engine))
    if isinstance(entry, CheapestTier):
        observers.append(entry)
    observers += others
    return Services(
        config=config,
        engine=engine,
        scores=scores,
        suspects=suspects,
        entry=entry,
        entry_model=entry_model,
        warmer=warmer,
        drafts=drafts,
        shadow=shadow,
        drift=drift,
        counts=counts,
        spans=spans,
        observers=Observers(observers),
    )
