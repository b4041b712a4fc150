"""Summary of a running server, for the block that it logs when it is ready."""

from collections.abc import Mapping, Sequence
from typing import Any

from cascadia_sglang.config.label_settings import self_calibrated_tiers
from cascadia_sglang.config.pool_specs import PoolSpec, pool_specs
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.launch.arguments import TierArguments
from cascadia_sglang.memory.host_cpu import has_bf16_instructions
from cascadia_sglang.memory.weights import kv_bytes_of, weight_bytes
from cascadia_sglang.models.local_files import local_folder
from cascadia_sglang.pool.pool import Worker
from cascadia_sglang.router.feedback.scores import TierScoring
from cascadia_sglang.server.ready_block import JudgeState, ServerSummary, TierSummary
from cascadia_sglang.version import __version__


def server_summary(
    config: CascadeConfig,
    arguments: TierArguments,
    workers: Sequence[Worker],
    scores: TierScoring,
    url: str,
    *,
    has_chat: bool,
    shows_metrics: bool,
    needs_key: bool,
) -> ServerSummary:
    """The summary of a server with these workers, which are ready."""
    tiers = [
        _tier(
            config,
            index,
            spec,
            arguments,
            [worker for worker in workers if index in worker.tiers],
            scores,
        )
        for spec in pool_specs(config)
        for index in spec.tiers
    ]
    return ServerSummary(
        version=__version__,
        url=url,
        tiers=tiers,
        places=_places(url, arguments, shows_metrics=shows_metrics),
        has_chat=has_chat,
        needs_key=needs_key,
    )


def judge_state(config: CascadeConfig, tier_index: int, scores: TierScoring) -> JudgeState:
    """How a tier's answers are rated."""
    if config.tiers[tier_index].hides_logits:
        return JudgeState.HIDDEN
    if scores.is_ranked(tier_index):
        learns = tier_index in self_calibrated_tiers(config)
        return JudgeState.SELF_CALIBRATING if learns else JudgeState.RANKED
    return JudgeState.CALIBRATED if scores.is_judged(tier_index) else JudgeState.OFF


def acceptance(config: CascadeConfig, tier_index: int, scores: TierScoring) -> str:
    """Which of a tier's answers go out, in words."""
    threshold, rate = scores.threshold(tier_index), scores.rate(tier_index)
    if threshold is None or config.tiers[tier_index].hides_logits:
        return "every answer"
    return f"score >= {threshold:g}" if rate is None else f"all but the weakest {rate:.0%}"


def _places(url: str, arguments: TierArguments, *, shows_metrics: bool) -> Mapping[str, str]:
    metrics = f"{url}/metrics" if shows_metrics else "off (--enable-metrics turns them on)"
    folder = arguments.log_folder
    return {
        "status": f"{url}/cascadia/status",
        "metrics": metrics,
        "logs": "this console" if folder is None else f"{folder}, one file for each worker",
    }


def _tier(
    config: CascadeConfig,
    tier_index: int,
    spec: PoolSpec,
    arguments: TierArguments,
    workers: Sequence[Worker],
    scores: TierScoring,
) -> TierSummary:
    kv_tokens = max((worker.handle.capacity_tokens for worker in workers), default=0)
    weights_bytes, token_bytes = _sizes(spec, arguments, workers)
    return TierSummary(
        name=config.tiers[tier_index].name,
        model=spec.model_path,
        workers=len(workers),
        devices=tuple(sorted({device for worker in workers for device in worker.handle.devices})),
        weights_bytes=weights_bytes,
        kv_bytes=None if token_bytes is None else token_bytes * kv_tokens,
        kv_tokens=kv_tokens,
        accepts=acceptance(config, tier_index, scores),
        judge=judge_state(config, tier_index, scores),
    )


def _sizes(
    spec: PoolSpec, arguments: TierArguments, workers: Sequence[Worker]
) -> tuple[float | None, float | None]:
    """Bytes of one worker's weights, and of a token's keys and values, all its ranks together."""
    folder = local_folder(spec.model_path)
    if folder is None:
        return None, None
    dtype: Any = arguments.flag(spec, "dtype")
    on_host = not any(worker.handle.devices for worker in workers)
    is_fp32 = dtype in ("float", "float32")
    is_fp32 |= on_host and dtype == "auto" and not has_bf16_instructions()
    served_bytes = 4 if is_fp32 else 2
    token_bytes = kv_bytes_of(folder, tp_size=1, pp_size=1, served_bytes=served_bytes)
    try:
        return weight_bytes(folder, served_bytes), token_bytes
    except ConfigError:
        return None, token_bytes
