"""What a cascade file must keep to beyond the types of its fields."""

import math
import re
from pathlib import Path

from cascadia_sglang.config.escalation import keeps_rate
from cascadia_sglang.config.label_settings import label_problems
from cascadia_sglang.config.settings import (
    CASCADE_MODEL,
    KEEP_ALIVE_ALLOWED,
    CascadeConfig,
    PlannerConfig,
    TierConfig,
    is_keep_alive_s,
)
from cascadia_sglang.models.hub_check import is_hub_name

# Part of headers, of metrics' labels and of file names.
_TIER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
RESERVED_NAMES = (CASCADE_MODEL, "default")
# Of the server as a whole: a tier cannot have its own.
_SERVER_WIDE_ARGS = re.compile(
    r"host|port|.*tokenizer.*|.*metric.*|.*key.*|served_model_name|model_path|nccl_port"
    r"|dist_init_addr|node_rank|nnodes|log_level.*|ssl_.*|dp_size|data_parallel_size|use_ray"
    r"|base_gpu_id|gpu_id_step"
)


def problems_of(config: CascadeConfig) -> list[str]:
    """Everything that crosses fields, each a line with its place."""
    problems: list[str] = []
    if config.version != 1:
        problems.append(f"version is {config.version}, allowed: 1")
    if not config.tiers:
        problems.append("tiers is empty, needed: at least one")
    for index, tier in enumerate(config.tiers):
        is_last = index == len(config.tiers) - 1
        is_compared = bool(config.routing.thresholds) and not config.judge.record
        needs_calibration = is_compared and not (is_last or tier.is_speculative)
        problems.extend(f"tiers[{index}].{p}" for p in _tier_problems(tier, needs_calibration))
        if index == 0 and tier.draft_calibration is not None:
            problems.append("tiers[0].draft_calibration: the first tier reads no drafts")
        if tier.is_speculative:
            place = f"tiers[{index}].server_args.speculative_algorithm"
            problems.extend(f"{place} {p}" for p in _speculative_problems(config, index))
        if tier.name.lower() in [other.name.lower() for other in config.tiers[:index]]:
            problems.append(f"tiers[{index}].name {tier.name!r} is used twice")
    problems.extend(f"routing.{p}" for p in routing_problems(config))
    problems.extend(f"planner.{p}" for p in _planner_problems(config.planner))
    if config.planner.sample is not None and keeps_rate(config):
        problems.append("planner.sample needs routing.thresholds: the planner moves them")
    problems.extend(label_problems(config))
    if config.prefix.warm_chunk < 1:
        problems.append(f"prefix.warm_chunk is {config.prefix.warm_chunk}, allowed: 1 or more")
    if not 0 <= config.prefix.carry_s < math.inf:
        problems.append(f"prefix.carry_s is {config.prefix.carry_s}, allowed: 0 or more")
    if not 0 < config.start_limit_s < math.inf:
        problems.append(f"start_limit_s is {config.start_limit_s}, allowed: above 0")
    return problems


def _planner_problems(planner: PlannerConfig) -> list[str]:
    problems: list[str] = []
    if planner.gpu_budget is not None and planner.gpu_budget < 1:
        problems.append(f"gpu_budget is {planner.gpu_budget}, allowed: 1 or more, or null")
    if planner.enabled and planner.gpu_budget is None:
        problems.append("gpu_budget is missing, required where the planner is enabled")
    if planner.enabled and planner.profile is None and planner.emulate is None:
        problems.append("profile is missing, required where the planner is enabled")
    for name in ("interval_s", "deadline_s", "horizon_s"):
        if not 0 < getattr(planner, name) < math.inf:
            problems.append(f"{name} is {getattr(planner, name)}, allowed: above 0")
    floor = planner.quality_floor
    if floor is not None and not 0.0 <= floor <= 1.0:
        problems.append(f"quality_floor is {floor}, allowed: 0 to 1, or null")
    if (planner.sample is None) != (floor is None):
        problems.append("sample and quality_floor need one another")
    if not 0 <= planner.cooldown_s < math.inf:
        problems.append(f"cooldown_s is {planner.cooldown_s}, allowed: 0 or more")
    return problems


def _tier_problems(tier: TierConfig, needs_calibration: bool) -> list[str]:
    problems: list[str] = []
    if not _TIER_NAME.fullmatch(tier.name) or tier.name.lower() in RESERVED_NAMES:
        problems.append(
            f"name is {tier.name!r}, allowed: 1 to 64 ASCII letters, digits, '.', '_' and '-', "
            "the first a letter or a digit, except "
            + " and ".join(repr(name) for name in RESERVED_NAMES)
        )
    if not _may_exist(tier.model_path):
        problems.append(f"model_path {tier.model_path!r} does not exist")
    if tier.calibration is None and needs_calibration:
        problems.append(
            "calibration is missing, required where routing.thresholds are given; "
            "without one give routing.escalation_rate"
        )
    for name in ("calibration", "draft_calibration"):
        path = getattr(tier, name)
        if path is not None and not Path(path).is_file():
            problems.append(f"{name} {path!r} does not exist")
    if tier.standby < 0:
        problems.append(f"standby is {tier.standby}, allowed: 0 or more")
    if tier.replicas < 1:
        problems.append(f"replicas is {tier.replicas}, allowed: 1 or more")
    if tier.devices is not None:
        problems.extend(f"devices {p}" for p in _device_problems(tier.devices))
    if tier.gpu_share is not None and not 0.0 < tier.gpu_share <= 1.0:
        problems.append(f"gpu_share is {tier.gpu_share}, allowed: above 0 to 1, or null")
    for key in tier.server_args:
        if _SERVER_WIDE_ARGS.fullmatch(key):
            problems.append(f"server_args.{key} belongs to the whole server, not to a tier")
    return problems


def _device_problems(devices: list[int]) -> list[str]:
    if not devices:
        return ["is empty, allowed: numbers of devices, or null"]
    if len(set(devices)) < len(devices):
        return [f"is {devices}, allowed: each number once"]
    below = [number for number in devices if number < 0]
    return [f"has {number}, allowed: 0 or more" for number in below]


def _speculative_problems(config: CascadeConfig, index: int) -> list[str]:
    """Of a tier that decodes speculatively, where SGLang shows the judge no logits."""
    problems: list[str] = []
    if config.tiers[index].calibration is not None:
        problems.append("turns the tier's judge off, so it cannot have a calibration")
    if config.judge.record:
        problems.append("turns the tier's judge off, so judge.record cannot record its answers")
    if index < len(config.tiers) - 1 and config.judge.on_error == "escalate":
        problems.append(
            "leaves its answers without a score; allowed: on the last tier, or with "
            "judge.on_error: accept"
        )
    return problems


def routing_problems(config: CascadeConfig) -> list[str]:
    """Everything that is wrong with `routing`, a line each."""
    routing = config.routing
    problems: list[str] = []
    if routing.thresholds:
        problems.extend(threshold_problems(config))
    else:
        problems.extend(_rate_problems(config))
    if routing.entry_model is None and routing.entry == "predicted":
        problems.append("entry_model is missing, required where entry is 'predicted'")
    if routing.entry_model is not None and not Path(routing.entry_model).is_file():
        problems.append(f"entry_model {routing.entry_model!r} does not exist")
    if routing.early_abort is not None and not 0.0 <= routing.early_abort <= 1.0:
        problems.append(f"early_abort is {routing.early_abort}, allowed: 0 to 1 or null")
    for name in ("queue_limit", "max_samples", "max_body_bytes", "commit_tokens"):
        if getattr(routing, name) < 1:
            problems.append(f"{name} is {getattr(routing, name)}, allowed: 1 or more")
    if not is_keep_alive_s(routing.keep_alive_s):
        problems.append(f"keep_alive_s is {routing.keep_alive_s}, allowed: {KEEP_ALIVE_ALLOWED}")
    problems.extend(_draft_problems(config))
    if not 0.0 <= routing.commit_chance <= 1.0:
        problems.append(f"commit_chance is {routing.commit_chance}, allowed: 0 to 1")
    if routing.commit_at_once is not None:
        if not 0.0 <= routing.commit_at_once <= 1.0:
            problems.append(f"commit_at_once is {routing.commit_at_once}, allowed: 0 to 1 or null")
        if routing.entry_model is None:
            problems.append("entry_model is missing, required where commit_at_once is a number")
    if routing.deadline_s is not None and not 0 < routing.deadline_s < math.inf:
        problems.append(f"deadline_s is {routing.deadline_s}, allowed: above 0 or null")
    gears = routing.gears
    if not 0.0 <= gears.floor <= 1.0:
        problems.append(f"gears.floor is {gears.floor}, allowed: 0 to 1")
    for name in ("steps", "queue"):
        if getattr(gears, name) < 1:
            problems.append(f"gears.{name} is {getattr(gears, name)}, allowed: 1 or more")
    least = max(1, len(config.tiers))
    if routing.max_attempts is not None and routing.max_attempts < least:
        problems.append(
            f"max_attempts is {routing.max_attempts}, allowed: {least} or more, one for each tier"
        )
    return problems


def threshold_problems(config: CascadeConfig) -> list[str]:
    """Everything that is wrong with fixed thresholds."""
    routing, wanted = config.routing, max(0, len(config.tiers) - 1)
    if routing.escalation_rate is not None:
        return ["thresholds and escalation_rate are both given, allowed: one of them"]
    if len(routing.thresholds) != wanted:
        return [
            f"thresholds has {len(routing.thresholds)} numbers, needed: {wanted}, "
            "one for every tier but the last"
        ]
    return [
        f"thresholds[{index}] is {threshold}, allowed: 0 to 1"
        for index, threshold in enumerate(routing.thresholds)
        if not 0.0 <= threshold <= 1.0
    ]


def _rate_problems(config: CascadeConfig) -> list[str]:
    """Where thresholds are to follow a rate."""
    rate, wanted = config.routing.escalation_rate, max(0, len(config.tiers) - 1)
    problems: list[str] = []
    if isinstance(rate, list) and len(rate) != wanted:
        problems.append(
            f"escalation_rate has {len(rate)} numbers, needed: {wanted}, one for every tier but "
            "the last, or one number for all"
        )
    elif rate is not None and wanted == 0:
        problems.append("escalation_rate is given, allowed: with two tiers or more")
    numbers = rate if isinstance(rate, list) else [] if rate is None else [rate]
    for index, number in enumerate(numbers):
        if not 0.0 <= number <= 1.0:
            place = f"escalation_rate[{index}]" if isinstance(rate, list) else "escalation_rate"
            problems.append(f"{place} is {number}, allowed: 0 to 1")
    if wanted > 0 and config.routing.gears.enabled:
        problems.append("gears.enabled needs routing.thresholds: gears lower them")
    return problems


def _draft_problems(config: CascadeConfig) -> list[str]:
    """Everything that is wrong with the settings of drafts, under the name they were given."""
    routing, drafts = config.routing, config.drafts()
    if routing.drafts is not None and routing.verify is not None:
        return ["verify is the former name of drafts and both are given, allowed: drafts"]
    is_former = routing.verify is not None
    low, second_judge = (
        ("verify.low", "verify.high") if is_former else ("drafts.low", "drafts.second_judge")
    )
    problems: list[str] = []
    if not 0.0 <= drafts.low <= 1.0:
        problems.append(f"{low} is {drafts.low}, allowed: 0 to 1")
    chance = drafts.second_judge
    if chance is not None and not 0.0 <= chance <= 1.0:
        problems.append(f"{second_judge} is {chance}, allowed: 0 to 1 or null")
    if chance is not None and not config.draft_calibrations():
        problems.append(f"{second_judge} needs a draft_calibration of a tier above the first")
    return problems


def _may_exist(model_path: str) -> bool:
    """Whether SGLang could find the model: a local path, or a hub name of the form owner/model."""
    return bool(model_path) and (Path(model_path).exists() or is_hub_name(model_path))
