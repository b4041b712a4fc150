"""What `cascadia simulate` reads: replicas, a profile, and how requests climb."""

from pathlib import Path

import msgspec

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.planner.outcome import Slo
from cascadia_sglang.planner.profile import Profile, load_profile
from cascadia_sglang.planner.simulator import Tier
from cascadia_sglang.struct_file import load_struct


class SetupTier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tier's capacity.

    Attributes:
        share: of the requests that reach it; 1 for the first.
        length: tokens of its answers, relative to the trace's.
        device_share: of a device that each replica has.
        stages: of a replica's pipeline.
    """

    name: str
    replicas: int = 1
    share: float = 1.0
    length: float = 1.0
    device_share: float = 1.0
    stages: int = 1


class SetupSlo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Latency targets of a request in milliseconds; null asks nothing."""

    ttft_ms: float | None = None
    tpot_ms: float | None = None
    e2e_ms: float | None = None


class Setup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cascade to simulate.

    Attributes:
        profile: path of a profile file with limits, relative to this file.
        tiers: smallest first.
        max_new_tokens: of every request; null for its own length in the trace.
        is_buffered: whether an answer leaves whole, as a cascade's does.
    """

    version: int
    profile: str
    tiers: list[SetupTier]
    slo: SetupSlo = SetupSlo()
    max_new_tokens: int | None = None
    is_buffered: bool = True

    def __post_init__(self) -> None:
        if self.version != 1:
            raise ValueError(f"version is {self.version}, allowed: 1")
        shares = [tier.share for tier in self.tiers]
        if not shares or shares[0] != 1.0 or shares != sorted(shares, reverse=True):
            raise ValueError("tiers need shares that begin at 1 and never rise, at least one")
        for index, tier in enumerate(self.tiers):
            if tier.replicas < 1 or tier.stages < 1:
                raise ValueError(f"tiers[{index}] needs replicas and stages of 1 or more")
            if not 0 < tier.share <= 1 or not 0 < tier.device_share <= 1 or not tier.length > 0:
                raise ValueError(
                    f"tiers[{index}] needs a share and a device_share above 0 and at most 1, and "
                    "a length above 0"
                )

    def targets(self) -> Slo:
        """The latency targets."""
        slo = self.slo
        return Slo(ttft_ms=slo.ttft_ms, tpot_ms=slo.tpot_ms, e2e_ms=slo.e2e_ms)


def load_setup(path: Path) -> tuple[Setup, Profile, list[Tier]]:
    """Read a set-up and its profile.

    Raises:
        ConfigError: if a file is missing or does not fit, or the profile lacks a tier or its
            limits; names the file and the place.
    """
    setup = load_struct(path, Setup, "plan")
    profile = load_profile(path.parent / setup.profile)
    tiers = []
    for index, tier in enumerate(setup.tiers):
        for what, known in (("step times", profile.tiers), ("limits", profile.limits)):
            if tier.name not in known:
                raise ConfigError(
                    f"plan {path}: tiers[{index}]: profile {setup.profile} has no {what} of "
                    f"{tier.name!r}, it has: {', '.join(sorted(known)) or 'none'}"
                )
        tiers.append(
            Tier(
                name=tier.name,
                times=profile.tiers[tier.name],
                limits=profile.limits[tier.name],
                replicas=tier.replicas,
                share=tier.device_share,
                stages=tier.stages,
            )
        )
    return setup, profile, tiers
