"""What an answer of each tier costs: its tokens times the step times of a busy worker.

The time of an answer under the load of a recording holds queues and HTTP, and says nothing of how
many devices a worker has. The cost here is the share of the worker's steps that the answer takes,
times its devices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cascadia_sglang.calibration.record.records import Record
from cascadia_sglang.calibration.report.planner_inputs import prompt_tokens
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.errors import CalibrationError, ConfigError
from cascadia_sglang.planner.speed.profile import StepTimes, load_profile
from cascadia_sglang.planner.speed.roofline import GPUS, load_shape, roofline_times

DEFAULT_GPU = "H100"


@dataclass(frozen=True, slots=True, kw_only=True)
class TierSpeeds:
    """Step times of every tier's worker, smallest first, and the devices that it has.

    Attributes:
        source: where the times come from, for whoever reads the costs.
    """

    times: tuple[StepTimes, ...]
    devices: tuple[int, ...]
    source: str


def tier_speeds(config: CascadeConfig, profile: Path | None, gpu: str | None) -> TierSpeeds:
    """The speeds of a cascade's tiers: measured, or by a GPU's data sheet.

    Args:
        profile: file of `cascadia profile`; None for the cascade file's own.
        gpu: name in the table of data sheets. It stands in place of the cascade file's profile;
            without either it is `DEFAULT_GPU`.

    Raises:
        ConfigError: if the profile lacks a tier, the GPU is not known, or a model's shape cannot be
            read.
    """
    ranks = [
        (int(tier.server_args.get("tp_size") or 1), int(tier.server_args.get("pp_size") or 1))
        for tier in config.tiers
    ]
    devices = tuple(tp * pp for tp, pp in ranks)
    if profile is None and gpu is None and config.planner.profile is not None:
        profile = Path(config.planner.profile)
    if profile is not None:
        measured = load_profile(profile)
        for tier in config.tiers:
            if tier.name not in measured.tiers:
                tiers = ", ".join(measured.tiers)
                raise ConfigError(f"profile {profile}: tier {tier.name} is missing, it has {tiers}")
        times = tuple(measured.tiers[tier.name] for tier in config.tiers)
        return TierSpeeds(times=times, devices=devices, source=f"step times of {profile}")
    if gpu is not None and gpu not in GPUS:
        raise ConfigError(f"gpu {gpu!r} is not known, known: {', '.join(GPUS)}")
    # The host's time says nothing of a model: below its floor all models would cost the same.
    sheet = replace(GPUS[gpu or DEFAULT_GPU], host_step_ms=0.0)
    tier_times = []
    for tier, (tp, pp) in zip(config.tiers, ranks, strict=True):
        try:
            shape = load_shape(tier.model_path)
        except ConfigError as error:
            raise ConfigError(
                f"tier {tier.name}: {error}; give --profile or --tier-cost"
            ) from error
        tier_times.append(roofline_times(shape, sheet, tp, pp))
    source = f"step times estimated by the data sheet of {sheet.name}"
    return TierSpeeds(times=tuple(tier_times), devices=devices, source=source)


def step_costs(
    speeds: TierSpeeds, records: Sequence[Sequence[Record]], rows: int
) -> tuple[float, ...]:
    """Device seconds of a mean answer of each tier, in units of the first tier's.

    Args:
        records: of every tier.
        rows: requests that a busy worker decodes together.
    """
    seconds = [
        devices
        * _answer_s(
            times,
            prompt=float(np.mean([prompt_tokens(record) for record in tier_records])),
            output=float(np.mean([max(1, record.tokens[-1]) for record in tier_records])),
            rows=rows,
        )
        for times, devices, tier_records in zip(speeds.times, speeds.devices, records, strict=True)
    ]
    return tuple(value / seconds[0] for value in seconds)


def _answer_s(times: StepTimes, *, prompt: float, output: float, rows: int) -> float:
    """Seconds of a worker that one answer takes.

    A worker of `rows` requests finishes `rows / output` of them with every step, and so many
    prompts come in their place, in one prefill. The prefill gives the first token.
    """
    together = max(1, round(rows / output))
    prefill_s = times.prefill_s(round(together * prompt), prompts=together)
    context = round(rows * (prompt + output / 2))
    return prefill_s / together + (output - 1) * times.decode_s(rows, context) / rows


def parse_costs(text: str) -> dict[str, float]:
    """Costs by tier name from `small=1,large=8`.

    Raises:
        CalibrationError: if a part is not a name and a number.
    """
    costs: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        try:
            costs[name.strip()] = float(number)
        except ValueError as error:
            raise CalibrationError(f"--tier-cost: {part!r} is not TIER=NUMBER") from error
    return costs


def fixed_costs(tier_cost: Mapping[str, float], names: Sequence[str]) -> tuple[float, ...]:
    """The costs in the order of the tiers.

    Raises:
        CalibrationError: unless every tier has one positive number.
    """
    if set(tier_cost) != set(names) or min(tier_cost.values()) <= 0:
        listed = ", ".join(f"{name}={cost:g}" for name, cost in tier_cost.items())
        raise CalibrationError(
            f"tier cost {listed!r} needs one number above 0 for each of {', '.join(names)}"
        )
    return tuple(tier_cost[name] for name in names)
