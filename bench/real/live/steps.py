"""The measurement in steps that are kept: one group of systems in one round each.

An interrupted run goes on where it stopped, with the same models and settings.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from bench.real.live.groups import CASCADES, FRONTS, LARGE, SMALL
from bench.rivals.system import PlayedRound


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One group in one round."""

    number: int
    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OneAtATime:
    """What the larger tier takes for each request alone, and to its first token; milliseconds."""

    latencies_ms: list[float]
    first_ms: list[float]

    @property
    def decoding(self) -> float:
        """The share of the time that comes after the first token."""
        return 1 - float(np.sum(self.first_ms) / np.sum(self.latencies_ms))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedStep:
    """What a step has shown.

    Attributes:
        seconds: it took, with the start of the servers.
        rounds: by system and case.
        memory_gb: by system, after the closed loop.
        one_at_a_time: of the larger tier, in its first step.
    """

    step: Step
    seconds: float
    rounds: Mapping[str, Mapping[str, PlayedRound]]
    memory_gb: Mapping[str, float]
    one_at_a_time: OneAtATime | None = None


def steps(rounds: int, *, with_small: bool = True) -> list[Step]:
    """All of them: each group comes first, second and last in turn.

    The first is the larger tier's, whose rate the open loops need.

    Args:
        with_small: whether the smaller tier alone is asked too, once.
    """
    groups = (LARGE, CASCADES, FRONTS)
    planned = []
    for number in range(rounds):
        first = number % len(groups)
        planned += [Step(number=number, group=g) for g in (*groups[first:], *groups[:first])]
        if number == 0 and with_small:
            planned.append(Step(number=number, group=SMALL))
    return planned


def load_steps(path: Path) -> list[PlayedStep]:
    """Those that a file keeps; none where it is not there."""
    return msgspec.json.decode(path.read_bytes(), type=list[PlayedStep]) if path.exists() else []


def save_steps(path: Path, done: Sequence[PlayedStep]) -> None:
    """Write them; an interrupted write leaves the file as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_suffix(".new")
    written.write_bytes(msgspec.json.encode(done))
    written.replace(path)


def time_left_s(missing: Sequence[Step], done: Sequence[PlayedStep]) -> float | None:
    """About how long these steps take; None before the first is done.

    A group takes what it took on the average, or else what all did.
    """
    if not done:
        return None
    mean_s = float(np.mean([played.seconds for played in done]))
    total_s = 0.0
    for step in missing:
        took_s = [played.seconds for played in done if played.step.group == step.group]
        total_s += float(np.mean(took_s)) if took_s else mean_s
    return total_s


def play_missing(
    path: Path,
    planned: Sequence[Step],
    minutes: float,
    play: Callable[[Step, Sequence[PlayedStep]], PlayedStep],
) -> list[PlayedStep] | None:
    """Play what is missing, as far as the time allows, and keep each step.

    Args:
        path: of the file that keeps them.
        minutes: no step begins that would end later, if it took as long as the longest; but the
            first does.
        play: one step, given those before.

    Returns:
        All steps in their order; None where some are left.
    """
    done = load_steps(path)
    began, played = time.monotonic(), 0
    while missing := [step for step in planned if all(each.step != step for each in done)]:
        left_s = time_left_s(missing, done)
        estimate = "" if left_s is None else f", about {left_s / 60:.0f} min"
        print(
            f"{len(missing)} of {len(planned)} steps are left{estimate}",
            file=sys.stderr,
            flush=True,
        )
        elapsed_s = time.monotonic() - began
        longest_s = max((each.seconds for each in done), default=0.0)
        if played and elapsed_s + longest_s > 60 * minutes:
            print("the time is up: the same command goes on", file=sys.stderr)
            return None
        done.append(play(missing[0], done))
        save_steps(path, done)
        played += 1
    return [each for step in planned for each in done if each.step == step]
