"""What is planned before a trace comes, by simulation: thresholds, gears, rates and the placement.

Everything comes from answers of both tiers to prompts of the calibration split, and from the
devices' profile: the lowest threshold that keeps an accuracy, how much traffic a split of the
devices carries within the target latency, which split is the best for a whole trace.

Shape legend: N prompts of a mix, T tiers, R requests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from bench.planner.sample import final_scores
from bench.reallocation.phases import Phase
from bench.rivals.fronts.thresholds import cheapest
from bench.rivals.shift.gears_by_rate import Gear
from cascadia_sglang.judge.state import COUNT
from cascadia_sglang.planner.simulation.paths import climbing_paths
from cascadia_sglang.planner.simulation.simulator import simulate
from cascadia_sglang.planner.simulation.tiers import SimulatedTier
from cascadia_sglang.planner.speed.profile import Profile
from cascadia_sglang.planner.workload.slo import Slo
from cascadia_sglang.planner.workload.workload import build_workload, poisson_arrivals_s
from demo import MODELS
from demo.calibrate.observe import observe
from demo.tasks.families import MAX_ANSWER_TOKENS
from demo.tasks.splits import sample

TIERS = ("small", "large")
ATTAINED = 0.95
_SEED = 0
_HALVINGS = 12

Families = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptAnswers:
    """What both tiers make of some prompts; a score is the small tier's of its own answer."""

    score_N: npt.NDArray[np.float64]
    right_NT: npt.NDArray[np.bool_]
    tokens_NT: npt.NDArray[np.int64]
    input_tokens_N: npt.NDArray[np.int64]


def answered(families: Families, seed: int, count: int) -> PromptAnswers:
    """Have both tiers answer prompts of the calibration split, in this process."""
    torch.set_num_threads(1)
    rows = sample("calibration", seed, count, families)
    small, large = (observe(MODELS / tier, rows) for tier in TIERS)
    return PromptAnswers(
        score_N=final_scores(TIERS[0], small, []),
        right_NT=np.stack((small.correct_N, large.correct_N), axis=1),
        tokens_NT=np.stack(
            [observation.final_NS[:, COUNT] for observation in (small, large)], axis=1
        ).astype(np.int64),
        input_tokens_N=small.prompt_tokens_N.astype(np.int64),
    )


def lowest_threshold(mixes: Sequence[PromptAnswers], floor: float) -> float:
    """The threshold of the fewest climbs whose accuracy on these prompts is at least `floor`."""
    scores_NT = np.concatenate([np.stack((mix.score_N,) * 2, axis=1) for mix in mixes])
    right_NT = np.concatenate([mix.right_NT for mix in mixes])
    (threshold,) = cheapest(scores_NT, right_NT, (0.0, 1.0), floor)
    return min(1.0, max(0.0, threshold))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Devices, what is known of the traffic, and the latency that a request may take."""

    profile: Profile
    devices: int
    answers: Mapping[Families, PromptAnswers]
    slo_s: float

    def attained(self, phases: Sequence[Phase], splits: Sequence[int], threshold: float) -> float:
        """The share of the requests that are answered in time, simulated.

        Args:
            splits: workers of the small tier, of every phase; where they differ, each phase begins
                on empty workers.
        """
        if len(set(splits)) > 1:
            parts = [
                (self.attained([phase], [split], threshold), phase.rate_per_s * phase.seconds)
                for phase, split in zip(phases, splits, strict=True)
            ]
            shares, counts = zip(*parts, strict=True)
            return float(np.average(shares, weights=counts))
        rng = np.random.default_rng(_SEED)
        times, drawn = [], []
        begins_s = 0.0
        for number, phase in enumerate(phases):
            count = max(2, round(phase.rate_per_s * phase.seconds))
            times.append(begins_s + poisson_arrivals_s(phase.rate_per_s, count, _SEED + number))
            begins_s += phase.seconds
            mix = self.answers[phase.families]
            drawn.append((mix, rng.integers(len(mix.score_N), size=count)))
        scores_R = np.concatenate([mix.score_N[rows] for mix, rows in drawn])
        tokens_RT = np.concatenate([mix.tokens_NT[rows] for mix, rows in drawn])
        order = np.argsort(np.concatenate(times), kind="stable")
        workload = build_workload(
            np.concatenate(times)[order],
            np.concatenate([mix.input_tokens_N[rows] for mix, rows in drawn])[order],
            tokens_RT.max(axis=1)[order],
        )
        scores_RT = np.stack((scores_R, np.ones_like(scores_R)), axis=1)[order]
        paths = climbing_paths(scores_RT, tokens_RT[order], [threshold], MAX_ANSWER_TOKENS)
        outcome = simulate(workload, paths, self._tiers(splits[0]), is_buffered=True)
        return outcome.attainment(Slo(e2e_ms=1000.0 * self.slo_s))

    def _tiers(self, split: int) -> list[SimulatedTier]:
        return [
            SimulatedTier(
                name=name,
                times=self.profile.tiers[name],
                limits=self.profile.limits[name],
                replicas=replicas,
            )
            for name, replicas in zip(TIERS, (split, self.devices - split), strict=True)
        ]

    def most_per_s(
        self, families: Families, split: int, threshold: float, seconds: float = 300.0
    ) -> float:
        """The highest rate of this traffic that a split carries for so long."""

        def carries(rate: float) -> bool:
            phase = Phase(families=families, rate_per_s=rate, seconds=seconds)
            return self.attained([phase], [split], threshold) >= ATTAINED

        return highest(carries, 0.1, 100.0)

    def most_of(self, phases: Sequence[Phase], splits: Sequence[int], threshold: float) -> float:
        """The highest scale of the phases' rates that these splits carry."""

        def carries(scale: float) -> bool:
            return self.attained(scaled(phases, scale), splits, threshold) >= ATTAINED

        return highest(carries, 0.05, 2.0)

    def best_split(self, phases: Sequence[Phase], threshold: float) -> tuple[int, dict[int, float]]:
        """The split that carries the most of a trace, and the scale that each carries."""
        scales = {
            split: self.most_of(phases, [split] * len(phases), threshold)
            for split in range(1, self.devices)
        }
        return max(scales, key=lambda split: scales[split]), scales

    def gears(self, families: Families, split: int, thresholds: Sequence[float]) -> list[Gear]:
        """A gear for every threshold, the highest first, with the rate of this traffic that it
        carries."""
        return [
            Gear(threshold=threshold, most_per_s=self.most_per_s(families, split, threshold))
            for threshold in thresholds
        ]


def scaled(phases: Sequence[Phase], scale: float) -> list[Phase]:
    """The same phases at so many times their rates."""
    return [
        Phase(families=phase.families, rate_per_s=scale * phase.rate_per_s, seconds=phase.seconds)
        for phase in phases
    ]


def highest(holds: Callable[[float], bool], low: float, high: float) -> float:
    """The highest number from `low` to `high` for which something holds that holds below it too;
    `low` where it holds nowhere."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
