"""The stages of the check, in their order, and how long each may take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WHOLE_S = 480.0  # of all stages and the summary, on a card
WHOLE_DRY_S = 3400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One part of the check, run as `python -m bench.gpu_check.stage NAME`.

    Attributes:
        module: of `bench.gpu_check.checks`; has `run(check)`.
        limit_s: after which it is ended, on a card.
        limit_dry_s: likewise without a card, where a server starts on few cores.
        runs_kernels: without a card, its process runs Triton's interpreter.
        what: in a few words, for the summary.
    """

    name: str
    module: str
    limit_s: float
    limit_dry_s: float
    runs_kernels: bool = False
    what: str


# What is safest comes first: a fault in SGLang's start leaves the kernels' rows standing.
STAGES: tuple[Stage, ...] = (
    Stage(
        name="setup",
        module="setup",
        limit_s=40,
        limit_dry_s=240,
        what="unpacks what is carried; versions, imports, SGLang's resolved arguments",
    ),
    Stage(
        name="kernels",
        module="kernel_checks",
        limit_s=60,
        limit_dry_s=200,
        runs_kernels=True,
        what="rows against float64 at serving's vocabularies; the kernel tests",
    ),
    Stage(
        name="sanitizer",
        module="sanitizer",
        limit_s=25,
        limit_dry_s=120,
        runs_kernels=True,
        what="compute-sanitizer on a step and a draft: memcheck, initcheck",
    ),
    Stage(
        name="timing",
        module="timing",
        limit_s=55,
        limit_dry_s=120,
        runs_kernels=True,
        what="device and host time of the launches, hot and cold, beside others",
    ),
    Stage(
        name="counters",
        module="counters",
        limit_s=20,
        limit_dry_s=90,
        runs_kernels=True,
        what="ncu: memory rate and issue slots at 1 and 256 rows",
    ),
    Stage(
        name="engine",
        module="engine",
        limit_s=60,
        limit_dry_s=600,
        what="tokens per second with and without the judge; phases of the start",
    ),
    Stage(
        name="drafts",
        module="drafts",
        limit_s=60,
        limit_dry_s=600,
        what="answers read as drafts equal the model's own; no worker is lost",
    ),
    Stage(
        name="features",
        module="features",
        limit_s=30,
        limit_dry_s=400,
        what="scores and accuracy of served answers beside the CPU's",
    ),
    Stage(
        name="recovery",
        module="recovery",
        limit_s=45,
        limit_dry_s=400,
        what="a killed worker comes back; Ctrl-C lets requests end",
    ),
    Stage(
        name="steps",
        module="step_times",
        limit_s=35,
        limit_dry_s=600,
        what="logged step times beside the device's; three tiers on one card",
    ),
)


def chosen(names: str) -> tuple[Stage, ...]:
    """The stages that a text names, separated by commas or spaces, in the order of `STAGES`.

    `setup` always belongs to them: without it the others find no SGLang. An empty text names all.

    Raises:
        ValueError: for a name that no stage has.
    """
    requested = set(names.replace(",", " ").split())
    existing = {stage.name for stage in STAGES}
    unknown = sorted(requested - existing)
    if unknown:
        allowed = ", ".join(stage.name for stage in STAGES)
        raise ValueError(f"STAGES names {', '.join(unknown)}; there are {allowed}")
    if not requested:
        return STAGES
    return tuple(stage for stage in STAGES if stage.name in requested | {"setup"})


def limits_s(stages: Sequence[Stage], *, dry: bool) -> float:
    """The limits of these stages together."""
    return sum(stage.limit_dry_s if dry else stage.limit_s for stage in stages)
