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
        run: names models and settings, as all steps of one measurement have them.
        seconds: it took, with the start of the servers.
        rounds: by system and case.
        memory_gb: by system, after the closed loop.
        one_at_a_time: of the larger tier, in its first step.
    """

    run: str
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
    found = []
    for number in range(rounds):
        first = number % len(groups)
        found += [Step(number=number, group=g) for g in (*groups[first:], *groups[:first])]
        if number == 0 and with_small:
            found.append(Step(number=number, group=SMALL))
    return found


def load_steps(path: Path, run: str) -> list[PlayedStep]:
    """Those of a measurement that are kept; a line that was cut short does not count."""
    if not path.exists():
        return []
    kept = []
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            played = msgspec.json.decode(line, type=PlayedStep)
            if played.run == run:
                kept.append(played)
    return kept


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
    run: str,
    minutes: float,
    play: Callable[[Step, Sequence[PlayedStep]], PlayedStep],
) -> list[PlayedStep] | None:
    """Play what is missing, as far as the time allows, and keep each step.

    Args:
        path: of the file that keeps them.
        minutes: no step begins that would end later, by how long the longest took; but one does.
        play: one step, given those before.

    Returns:
        All steps; None where some are left.
    """
    done = load_steps(path, run)
    began = time.monotonic()
    path.parent.mkdir(parents=True, exist_ok=True)
    for step in planned:
        if any(played.step == step for played in done):
            continue
        longest_s = max((played.seconds for played in done), default=0.0)
        elapsed_s = time.monotonic() - began
        missing = [s for s in planned if all(played.step != s for played in done)]
        left_s = time_left_s(missing, done)
        told = "not known yet" if left_s is None else f"about {left_s / 60:.0f} min"
        print(
            f"{step.group}, round {step.number + 1}; {len(missing)} of {len(planned)} steps are "
            f"left, time: {told}",
            file=sys.stderr,
            flush=True,
        )
        if elapsed_s and elapsed_s + longest_s > 60 * minutes and len(missing) < len(planned):
            print("the time is up; run the same command again", file=sys.stderr)
            return None
        played_step = play(step, done)
        with path.open("ab") as file:
            file.write(msgspec.json.encode(played_step) + b"\n")
        done.append(played_step)
    return [played for step in planned for played in done if played.step == step]
