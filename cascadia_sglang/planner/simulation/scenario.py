"""The scenario that `cascadia simulate` reads: replicas, a profile, and how requests climb."""

import math
from pathlib import Path

import msgspec

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.files.json_text import DuplicateKeyError, json_data
from cascadia_sglang.files.struct_file import load_struct
from cascadia_sglang.planner.speed.profile import Profile, load_profile
from cascadia_sglang.planner.workload.slo import Slo
from cascadia_sglang.planner.workload.source import WorkloadSource


class ScenarioTier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tier's share of the requests, and its capacity."""

    name: str
    """Name of the tier, as in the profile."""
    pool: str | None = None
    """Name of the workers that several tiers share. Such tiers agree in all sizes. null: none."""
    block: str | None = None
    """Name of the tiers whose workers share devices and take turns there. null: none."""
    replicas: int = 1
    """Number of workers."""
    share: float = 1.0
    """Share of the requests that reach the tier. 1 for the first tier."""
    length: float = 1.0
    """Tokens of the tier's answers, relative to the trace's."""
    prompt_length: float = 1.0
    """Tokens of a prompt at the tier, relative to the trace's. Tiers of a `pool` share it."""
    device_share: float = 1.0
    """Share of a device that each replica has."""
    stages: int = 1
    """Pipeline stages of a replica."""
    kept: float | None = None
    """Share of the earlier answer that the tier keeps as a draft. null: it reads no drafts."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cascade to simulate. A plan from a workload holds it too."""

    version: int
    """Version of the file's form. Only 1 is allowed."""
    profile: str | Profile
    """Step times and limits of every tier, or the path of a profile file, relative to this file."""
    tiers: list[ScenarioTier]
    """The tiers, smallest first."""
    slo: Slo = Slo()
    """Latency targets."""
    max_new_tokens: int | None = None
    """Token limit of every request. null: the length of the request's longest answer."""
    is_buffered: bool = True
    """Whether an answer leaves in one piece, as with `stream: buffered`."""
    seed: int = 0
    """Seed of the draw of the requests that escalate."""
    workload: WorkloadSource | None = None
    """Requests to simulate if the command names no others."""

    def __post_init__(self) -> None:
        if self.version != 1:
            raise ValueError(f"version is {self.version}, allowed: 1")
        shares = [tier.share for tier in self.tiers]
        if not shares or shares[0] != 1.0 or shares != sorted(shares, reverse=True):
            raise ValueError("tiers need shares that begin at 1 and never rise, at least one")
        for index, tier in enumerate(self.tiers):
            if tier.replicas < 1 or tier.stages < 1:
                raise ValueError(f"tiers[{index}] needs replicas and stages of 1 or more")
            if not 0 <= tier.share <= 1 or not 0 < tier.device_share <= 1:
                raise ValueError(
                    f"tiers[{index}] needs a share of 0 to 1, and a device_share above 0 and at "
                    "most 1"
                )
            if not 0 < tier.length < math.inf or not 0 < tier.prompt_length < math.inf:
                raise ValueError(f"tiers[{index}] needs a length and a prompt_length above 0")
            if tier.kept is not None and (index == 0 or not 0 <= tier.kept <= 1):
                raise ValueError(f"tiers[{index}] needs a kept of 0 to 1, or null, the first null")


def load_scenario(path: Path) -> tuple[Scenario, Profile]:
    """Read what to simulate: a set-up, or a plan that holds one.

    Raises:
        ConfigError: if a file is missing or does not fit, the profile lacks a tier or its limits,
            or a plan holds no set-up; names the file and the place.
    """
    setup = _setup_of_plan(path) or load_struct(path, Scenario, "plan")
    profile = setup.profile
    source = "in it"
    if isinstance(profile, str):
        source = profile
        profile = load_profile(path.parent / profile)
    for index, tier in enumerate(setup.tiers):
        for what, by_tier in (("step times", profile.tiers), ("limits", profile.limits)):
            if tier.name not in by_tier:
                raise ConfigError(
                    f"plan {path}: tiers[{index}]: profile {source} has no {what} of "
                    f"{tier.name!r}, it has: {', '.join(sorted(by_tier)) or 'none'}"
                )
    return setup, profile


def _setup_of_plan(path: Path) -> Scenario | None:
    """The set-up in a plan's file; None where the file is no plan, or none that can be read."""
    try:
        data = json_data(path.read_bytes())
    except DuplicateKeyError as error:
        raise ConfigError(f"plan {path}: {error}") from error
    except (OSError, ValueError):
        return None
    if not isinstance(data, dict) or "objective_s" not in data:
        return None
    if "setup" not in data:
        raise ConfigError(
            f"plan {path}: it was made from tables and says nothing of requests and step times; "
            "a problem with a workload gives a plan that can be simulated"
        )
    try:
        return msgspec.convert(data["setup"], Scenario)
    except msgspec.ValidationError as error:
        raise ConfigError(f"plan {path}: setup: {error}") from error
