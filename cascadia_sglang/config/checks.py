"""Checks of a cascade file beyond the types of its fields."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cascadia_sglang.config.cluster_settings import cluster_problems
from cascadia_sglang.config.escalation import keeps_rate
from cascadia_sglang.config.label_settings import label_problems, self_calibrated_tiers
from cascadia_sglang.config.routing_settings import KEEP_ALIVE_ALLOWED, is_keep_alive_s
from cascadia_sglang.config.settings import CASCADE_MODEL, CascadeConfig, PlannerConfig, TierConfig
from cascadia_sglang.config.speculation import JUDGED_ALGORITHMS, judged_problems
from cascadia_sglang.models.hub_check import is_hub_name
from cascadia_sglang.value_ranges import bound_problems

# Part of headers, of metrics' labels and of file names.
_TIER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
RESERVED_NAMES = (CASCADE_MODEL, "default")
# Of the server as a whole: a tier cannot have its own.
_SERVER_WIDE_ARGS = re.compile(
    r"host|port|(?!tokenizer_(?:path|mode|backend)$).*tokenizer.*|.*metric.*|.*key.*"
    r"|served_model_name|model_path|nccl_port|dist_init_addr|node_rank|nnodes|log_level.*|ssl_.*|dp_size|data_parallel_size|use_ray"
    r"|base_gpu_id|gpu_id_step"
)


def problems_of(config: CascadeConfig) -> list[str]:
    """Everything that crosses fields, each a line with its place."""
    problems = list(bound_problems(config))
    if config.version != 1:
        problems.append(f"version is {config.version}, allowed: 1")
    if not config.tiers:
        problems.append("tiers is empty, needed: at least one")
    for index, tier in enumerate(config.tiers):
        is_last = index == len(config.tiers) - 1
        is_compared = bool(config.routing.thresholds) and not config.judge.record
        needs_calibration = is_compared and not (is_last or tier.hides_logits)
        problems.extend(f"tiers[{index}].{p}" for p in _tier_problems(tier, needs_calibration))
        if index == 0 and tier.draft_calibration is not None:
            problems.append("tiers[0].draft_calibration: the first tier reads no drafts")
        if tier.speculation is not None:
            problems.extend(f"tiers[{index}].{p}" for p in _speculative_problems(config, index))
        if tier.speculation is not None and not tier.hides_logits:
            lax = lax_flags(config, index, tier.server_args)
            problems.extend(f"tiers[{index}].server_args.{p}" for p in lax)
        if tier.name.lower() in [earlier.name.lower() for earlier in config.tiers[:index]]:
            problems.append(f"tiers[{index}].name {tier.name!r} is used twice")
    problems.extend(f"routing.{p}" for p in routing_problems(config))
    problems.extend(f"planner.{p}" for p in _planner_problems(config.planner))
    if config.planner.quality_floor is not None and keeps_rate(config):
        problems.append("planner.quality_floor needs routing.thresholds: the planner moves them")
    if config.judge.record_hidden and not config.judge.record:
        problems.append("judge.record_hidden needs judge.record")
    problems.extend(label_problems(config))
    problems.extend(problems_on_several_machines(config))
    return problems


def problems_on_several_machines(config: CascadeConfig) -> list[str]:
    """What a cascade cannot have where workers run on other machines too, a line each."""
    if not config.cluster.is_on:
        return []
    problems = [f"cluster.{problem}" for problem in cluster_problems(config.cluster)]
    for index, tier in enumerate(config.tiers):
        for key in ("devices", "gpu_share"):
            if getattr(tier, key) is not None:
                problems.append(f"tiers[{index}].{key} is of one machine: cluster.ray excludes it")
    learning = sorted(self_calibrated_tiers(config))
    if learning and config.state is None:
        problems.append(
            f"tiers[{learning[0]}] calibrates itself, and workers on other machines read the file: "
            "give it a calibration, say calibration: off, or give state, a folder that all see"
        )
    return problems


def _planner_problems(planner: PlannerConfig) -> list[str]:
    problems: list[str] = []
    if planner.enabled and planner.gpu_budget is None:
        problems.append("gpu_budget is missing, required where the planner is enabled")
    if planner.enabled and planner.profile is None and planner.emulate is None:
        problems.append("profile is missing, required where the planner is enabled")
    if planner.quality_floor is not None and planner.sample is None:
        problems.append("sample is missing, required where quality_floor is given")
    if planner.sample is not None and not Path(planner.sample).is_file():
        problems.append(f"sample {planner.sample!r} does not exist")
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
    if tier.devices is not None:
        problems.extend(f"devices {p}" for p in _device_problems(tier.devices))
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
    """Of a tier that decodes speculatively."""
    tier, is_last = config.tiers[index], index == len(config.tiers) - 1
    problems: list[str] = []
    if tier.draft_calibration is not None:
        problems.append("draft_calibration: a tier with speculative decoding rates no drafts")
    if not tier.hides_logits:
        return problems
    algorithm = f"server_args.speculative_algorithm {tier.server_args['speculative_algorithm']}"
    if tier.calibration is not None:
        problems.append(f"{algorithm} hides the tier's logits, so it cannot have a calibration")
    if config.judge.record:
        problems.append(
            f"{algorithm} hides the tier's logits, so judge.record cannot record its answers"
        )
    if not is_last and config.judge.on_error == "escalate":
        problems.append(
            f"{algorithm} leaves its answers without a score; allowed: on the last tier, with "
            f"judge.on_error: accept, or one of {', '.join(JUDGED_ALGORITHMS)}"
        )
    return problems


def lax_flags(config: CascadeConfig, index: int, flags: Mapping[str, Any]) -> list[str]:
    """Why a tier that decodes speculatively cannot be judged with these flags, a line each."""
    tier, is_last = config.tiers[index], index == len(config.tiers) - 1
    is_judged = not is_last or config.judge.record or tier.calibration is not None
    return judged_problems(flags) if is_judged else []


def routing_problems(config: CascadeConfig) -> list[str]:
    """What is wrong with `routing` beyond the ranges of its numbers, a line each."""
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
    if not is_keep_alive_s(routing.keep_alive_s):
        problems.append(f"keep_alive_s is {routing.keep_alive_s}, allowed: {KEEP_ALIVE_ALLOWED}")
    problems.extend(_draft_problems(config))
    if routing.commit_at_once is not None and routing.entry_model is None:
        problems.append("entry_model is missing, required where commit_at_once is a number")
    least = max(1, len(config.tiers))
    if routing.max_attempts is not None and routing.max_attempts < least:
        problems.append(
            f"max_attempts is {routing.max_attempts}, allowed: {least} or more, one for each tier"
        )
    return problems


def threshold_problems(config: CascadeConfig) -> list[str]:
    """What is wrong with fixed thresholds beyond their range."""
    routing, lower_tiers = config.routing, max(0, len(config.tiers) - 1)
    if routing.escalation_rate is not None:
        return ["thresholds and escalation_rate are both given, allowed: one of them"]
    if len(routing.thresholds) != lower_tiers:
        return [
            f"thresholds has {len(routing.thresholds)} numbers, needed: {lower_tiers}, "
            "one for every tier but the last"
        ]
    return []


def _rate_problems(config: CascadeConfig) -> list[str]:
    """Where thresholds are to follow a rate."""
    rate, lower_tiers = config.routing.escalation_rate, max(0, len(config.tiers) - 1)
    problems: list[str] = []
    if isinstance(rate, list) and len(rate) != lower_tiers:
        problems.append(
            f"escalation_rate has {len(rate)} numbers, needed: {lower_tiers}, one for every tier "
            "but the last, or one number for all"
        )
    elif rate is not None and lower_tiers == 0:
        problems.append("escalation_rate is given, allowed: with two tiers or more")
    if lower_tiers > 0 and config.routing.gears.enabled:
        problems.append("gears.enabled needs routing.thresholds: gears lower them")
    return problems


def _draft_problems(config: CascadeConfig) -> list[str]:
    """What is wrong with the settings of drafts, under the name they were given."""
    routing = config.routing
    if routing.drafts is not None and routing.verify is not None:
        return ["verify is the former name of drafts and both are given, allowed: drafts"]
    if config.drafts().second_judge is None or config.draft_calibrations():
        return []
    key = "drafts.second_judge" if routing.verify is None else "verify.high"
    return [f"{key} needs a draft_calibration of a tier above the first"]


def _may_exist(model_path: str) -> bool:
    """Whether SGLang could find the model: a local path, or a hub name of the form owner/model."""
    return bool(model_path) and (Path(model_path).exists() or is_hub_name(model_path))
