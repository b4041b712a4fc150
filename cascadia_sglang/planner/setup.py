"""The scenario that `cascadia simulate` reads: replicas, a profile, and how requests climb."""

from pathlib import Path

import msgspec

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.json_text import DuplicateKeyError, json_data
from cascadia_sglang.planner.profile import Profile, load_profile
from cascadia_sglang.planner.slo import Slo
from cascadia_sglang.planner.workload_source import WorkloadSource
from cascadia_sglang.struct_file import load_struct


class ScenarioTier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tier's capacity.

    Attributes:
        pool: of workers that several tiers share, alike in replicas and all; null for its own.
        block: of tiers whose workers share devices and take turns there, alike in replicas.
        share: of the requests that reach it; 1 for the first.
        length: tokens of its answers, relative to the trace's.
        device_share: of a device that each replica has.
        stages: of a replica's pipeline.
        kept: share of the answer before that it keeps where it reads it as a draft; null where it
            writes anew.
    """

    name: str
    pool: str | None = None
    block: str | None = None
    replicas: int = 1
    share: float = 1.0
    length: float = 1.0
    device_share: float = 1.0
    stages: int = 1
    kept: float | None = None


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cascade to simulate: a plan without a proof, which a plan from a workload holds too.

    Attributes:
        profile: with limits; or the path of its file, relative to this one.
        tiers: smallest first.
        max_new_tokens: of every request; null for its own length in the trace.
        is_buffered: whether an answer leaves whole, as a buffered cascade's does.
        seed: of who climbs.
        workload: that it was planned for, simulated where no other is named.
    """

    version: int
    profile: str | Profile
    tiers: list[ScenarioTier]
    slo: Slo = Slo()
    max_new_tokens: int | None = None
    is_buffered: bool = True
    seed: int = 0
    workload: WorkloadSource | None = None

    def __post_init__(self) -> None:
        if self.version != 1:
            raise ValueError(f"version is {self.version}, allowed: 1")
        shares = [tier.share for tier in self.tiers]
        if not shares or shares[0] != 1.0 or shares != sorted(shares, reverse=True):
            raise ValueError("tiers need shares that begin at 1 and never rise, at least one")
        for index, tier in enumerate(self.tiers):
            if tier.replicas < 1 or tier.stages < 1:
                raise ValueError(f"tiers[{index}] needs replicas and stages of 1 or more")
            if not 0 <= tier.share <= 1 or not 0 < tier.device_share <= 1 or not tier.length > 0:
                raise ValueError(
                    f"tiers[{index}] needs a share of 0 to 1, a device_share above 0 and at most "
                    "1, and a length above 0"
                )
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
    told = "in it"
    if isinstance(profile, str):
        told = profile
        profile = load_profile(path.parent / profile)
    for index, tier in enumerate(setup.tiers):
        for what, known in (("step times", profile.tiers), ("limits", profile.limits)):
            if tier.name not in known:
                raise ConfigError(
                    f"plan {path}: tiers[{index}]: profile {told} has no {what} of "
                    f"{tier.name!r}, it has: {', '.join(sorted(known)) or 'none'}"
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
