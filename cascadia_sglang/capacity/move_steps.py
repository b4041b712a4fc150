"""The steps of a move: start, drain and stop replicas, set thresholds."""

from __future__ import annotations

import msgspec

from cascadia_sglang.capacity.types import RunningReplica


class Start(msgspec.Struct, frozen=True, kw_only=True, tag="start"):
    """Start a replica at its place; done once it accepts requests."""

    replica: RunningReplica


class Drain(msgspec.Struct, frozen=True, kw_only=True, tag="drain"):
    """Give a replica no further requests; those that it runs go on."""

    replica: RunningReplica


class Stop(msgspec.Struct, frozen=True, kw_only=True, tag="stop"):
    """End a drained replica once its requests are done, or its deadline has passed."""

    replica: RunningReplica


class SetThresholds(msgspec.Struct, frozen=True, kw_only=True, tag="thresholds"):
    """Accept by these thresholds from now on."""

    thresholds: tuple[float, ...]


Action = Start | Drain | Stop | SetThresholds
