"""The answers of `GET /cascadia/status` and `GET /v1/models`."""

from collections import Counter
from dataclasses import asdict
from typing import Any

import msgspec

from cascadia_sglang.config.settings import CASCADE_MODEL, CascadeConfig
from cascadia_sglang.config.voices import Voices
from cascadia_sglang.controller.mover import Mover
from cascadia_sglang.drafts.policy import DraftPolicy
from cascadia_sglang.judge.watch.agreement import AgreementWatch
from cascadia_sglang.pool.pool import WorkerPool
from cascadia_sglang.pool.worker_handle import WorkerHandle
from cascadia_sglang.prefix.warming import Warmer
from cascadia_sglang.router.cascade import CascadeRouter
from cascadia_sglang.router.engine_protocol import TierState
from cascadia_sglang.router.feedback.calibration_drift import TierWatch
from cascadia_sglang.router.feedback.scores import TierScoring
from cascadia_sglang.router.model_names import listed_names, read_model
from cascadia_sglang.self_calibration.controller import SelfCalibration


def status(
    config: CascadeConfig,
    pool: WorkerPool,
    router: CascadeRouter,
    mover: Mover,
    prefixes: dict[str, Any],
    rids: int,
    voices: Voices,
    self_calibration: SelfCalibration | None = None,
) -> dict[str, Any]:
    """Tiers, workers, thresholds and counters of the running server.

    Args:
        prefixes: what is known of the workers' prefix caches.
        rids: requests that the tokenizer manager knows, attempts included.
        voices: of the tiers.
    """
    services = router.services
    scores, counts = services.scores, services.counts
    return {
        "tiers": [
            {
                "name": tier.name,
                "model_path": tier.model_path,
                "voice": voices.of_tier(index).name,
                "judge": "on" if scores.is_judged(index) else "off",
                "calibrated": scores.source(index).is_calibrated,
                **_escalation(scores, index),
                "answered": counts.answered[index],
                "escalated": counts.escalated[index],
                "judge_errors": counts.judge_errors[index],
                "drift": _drift(services.drift.watch(index)),
                "shadow": _shadow(services.shadow.watches.get(index)),
                "self_calibration": None
                if self_calibration is None
                else self_calibration.summary(index),
                "warm": _warm(services.warmer, index),
                "drafts": _drafts(services.drafts, index),
                "tokens_per_step": _tokens_per_step(services.engine, index),
            }
            for index, tier in enumerate(config.tiers)
        ],
        "workers": [
            {
                "id": worker.worker_id,
                "tiers": [config.tiers[index].name for index in worker.tiers],
                "state": worker.state.value,
                "node": mover.cluster.node(worker.handle.replica.node).name,
                "pids": worker.handle.pids,
                "running": len(worker.rids),
                "devices": _devices(worker.handle),
                "start_s": {p: round(s, 3) for p, s in worker.handle.phases.items()},
            }
            for worker in pool
        ],
        "nodes": _nodes(mover),
        "prefixes": prefixes,
        "bypassed": [config.tiers[index].name for index in sorted(pool.bypassed)],
        "thresholds": router.config.routing.thresholds,
        "gear": router.gear,
        "plan_number": mover.number,
        "active": router.active_count,
        "poison": services.suspects.counts,
        "rids": rids,
    }


def model_cards(
    config: CascadeConfig, pool: WorkerPool, voices: Voices, served_name: str, created: int
) -> list[dict[str, Any]]:
    """The cascade and every tier, as the OpenAI model list shows them."""
    return [
        _card(name, config, pool, voices, config.tier_index(name), created)
        for name in listed_names(served_name, config)
    ]


def model_card(
    name: str,
    config: CascadeConfig,
    pool: WorkerPool,
    voices: Voices,
    served_name: str,
    created: int,
) -> dict[str, Any]:
    """The card of one model, under the name that was asked for.

    Raises:
        RequestError: 404 for a name that is neither the cascade's nor a tier's.
    """
    strict = msgspec.structs.replace(
        config, routing=msgspec.structs.replace(config.routing, unknown_model="reject")
    )
    named = read_model(name, served_name, strict)
    return _card(name, config, pool, voices, named.tier, created)


def _nodes(mover: Mover) -> list[dict[str, Any]]:
    """The nodes that workers run on, and who waits since one of them was lost."""
    replicas = mover.running().replicas
    return [
        {
            "name": node.name,
            "state": "up" if node.is_up else "away",
            "local": node.is_local,
            "devices": node.devices,
            "memory_gib": None if node.memory_gib is None else round(node.memory_gib, 1),
            "silent_s": None if node.silent_s is None else round(node.silent_s, 1),
            "waiting": Counter(
                replica.pool
                for replica in replicas
                if replica.node == node.number and not mover.cluster.is_up(replica)
            ),
        }
        for node in mover.cluster.nodes
    ]


def _devices(handle: WorkerHandle) -> list[dict[str, Any]]:
    """A worker's accelerators; with its part of each, where it shares them."""
    share = handle.device_share
    if share is None:
        return [{"device": number} for number in handle.devices]
    part = {"gpu_share": share.share, "memory_gb": round(share.free_bytes / 1e9, 1)}
    return [{"device": number, **part} for number in handle.devices]


def _escalation(scores: TierScoring, tier_index: int) -> dict[str, float | None]:
    """A tier's threshold now, the share asked to climb, and the share of the last that did."""
    recent, threshold = scores.recent_rate(tier_index), scores.threshold(tier_index)
    return {
        "threshold": None if threshold is None else round(threshold, 6),
        "escalation_rate": scores.rate(tier_index),
        "recent_escalation_rate": None if recent is None else round(recent, 4),
    }


def _drift(watch: TierWatch | None) -> dict[str, Any] | None:
    """How far a tier's last answers are from its calibration's; None without one or too few."""
    drift = None if watch is None else watch.scores.drift()
    if watch is None or drift is None:
        return None
    shift = None if watch.features is None else watch.features.shift()
    return {
        "scores": drift.scores,
        "distance": round(drift.distance, 4),
        "limit": round(drift.limit, 4),
        "features": None
        if shift is None
        else {
            "answers": shift.answers,
            "distance": round(shift.distance, 2),
            "limit": round(shift.limit, 2),
            "alarm": shift.is_alarm,
        },
        "alarm": watch.is_alarm,
    }


def _shadow(watch: AgreementWatch | None) -> dict[str, Any] | None:
    """How often a tier's accepted answers equal the last tier's; None before the first is known."""
    state = None if watch is None else watch.state()
    if state is None or not state.now.answers:
        return None
    expected = state.expected
    return {
        "answers": state.now.answers,
        "agreed": state.now.agreed,
        "expected": None if expected is None else [expected.agreed, expected.answers],
        "p_value": state.p_value,
        "alarm": state.is_alarm,
    }


def _warm(warmer: Warmer, tier_index: int) -> dict[str, int] | None:
    """What was computed on a tier ahead of time, and what came of it; None where nothing is."""
    if not warmer.is_on:
        return None
    counts = warmer.counts[tier_index]
    return {
        "warmed_tokens": counts.warmed_tokens,
        "used_tokens": counts.used_tokens,
        "finished": counts.finished,
        "left": counts.left,
    }


def _drafts(policy: DraftPolicy, tier_index: int) -> dict[str, float | None] | None:
    """What a tier read of smaller tiers' drafts, and kept; None where it reads none."""
    return None if not policy.is_on or tier_index == 0 else asdict(policy.counts[tier_index])


def _tokens_per_step(engine: TierState, tier_index: int) -> float | None:
    """Tokens that a decode step gave a request on average; None before the first step."""
    tokens = engine.tokens_per_step(tier_index)
    return None if tokens is None else round(tokens, 2)


def _card(
    name: str,
    config: CascadeConfig,
    pool: WorkerPool,
    voices: Voices,
    tier: int | None,
    created: int,
) -> dict[str, Any]:
    """The card of the cascade, or of one tier.

    The cascade has the longest context of its tiers, and the voice of the first: token ids that
    are sent to it are of that voice's tokenizer.
    """
    tiers = range(len(config.tiers)) if tier is None else [tier]
    limits = [pool.limits(index) for index in tiers]
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": CASCADE_MODEL,
        "root": name if tier is None else config.tiers[tier].name,
        "parent": None,
        "voice": voices.of_tier(tier or 0).name,
        "max_model_len": max((limit.context_tokens for limit in limits if limit), default=None),
    }
