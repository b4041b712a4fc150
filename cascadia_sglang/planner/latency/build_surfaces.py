"""Builds the latency surfaces of a problem's pools, here or in worker processes.

A shape is simulated once for what a tier writes, however many replicas, shares and candidates are
looked at later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from cascadia_sglang.planner.latency.simulated import PoolSurfaces
from cascadia_sglang.planner.latency.surfaces import ParallelShape, Surface, build_surface
from cascadia_sglang.planner.problem.problem import Problem
from cascadia_sglang.planner.simulation.paths import shared_paths
from cascadia_sglang.planner.workload.workload import Workload

# Requests of a workload that a surface is simulated with at most, drawn from all of it, and the
# tokens of their answers.
SURFACE_REQUESTS, SURFACE_TOKENS = 1_000, 240_000

A = TypeVar("A")
B = TypeVar("B")
# Applies a module's function to every argument, in order.
Run = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLengths:
    """What a tier writes.

    Attributes:
        length: of its answers, relative to the workload's.
        draft_length: the same of the tier's before, whose answers it reads; 0 where it reads none.
        kept_share: of those, what it keeps; None where it reads none.
    """

    length: float
    draft_length: float = 0.0
    kept_share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceJob:
    """One surface to build."""

    workload: Workload
    shape: ParallelShape
    answers: AnswerLengths


def in_process(
    function: Callable[[A], B],
    jobs: Sequence[A],
    on_done: Callable[[int], None] = lambda _: None,
) -> list[B]:
    """A `Run` without another process; `on_done` hears how many jobs are done."""
    found = []
    for number, job in enumerate(jobs, 1):
        found.append(function(job))
        on_done(number)
    return found


def surface_of(job: SurfaceJob) -> Surface:
    """Build the surface of a job."""
    answers = job.answers
    paths = shared_paths(job.workload, [1.0], [answers.length], None, 0)
    if answers.kept_share is not None:
        drafts = shared_paths(job.workload, [1.0], [answers.draft_length], None, 0)
        paths = replace(paths, draft_tokens_R=drafts.tokens_RT[:, 0])
    return build_surface(job.workload, paths, job.shape, kept_share=answers.kept_share)


def build_surfaces(
    problem: Problem, workload: Workload, shapes: Mapping[str, Sequence[ParallelShape]], run: Run
) -> PoolSurfaces:
    """Surfaces of every tier on every shape of its pool.

    Args:
        shapes: of each pool, each holding every request of the workload.
    """
    part = workload.thinned(workload.count_within(SURFACE_REQUESTS, SURFACE_TOKENS))
    written = [answers_of(problem, tier) for tier in range(len(problem.tiers))]
    jobs: dict[tuple[str, int, str, AnswerLengths], SurfaceJob] = {}
    for pool, known in shapes.items():
        for index, shape in enumerate(known):
            for tier in problem.tiers_of(pool):
                told, answers = problem.tiers[tier], written[tier]
                own = shape.of_tier(told.name)
                job = SurfaceJob(workload=part, shape=own, answers=answers)
                jobs[pool, index, told.workers, answers] = job
    # The slowest devices take the most steps; begun first, they keep no worker waiting at the end.
    order = sorted(jobs, key=lambda key: -_work(jobs[key].shape))
    built = dict(zip(order, run(surface_of, [jobs[key] for key in order]), strict=True))
    return {
        pool: [
            (
                shape,
                [
                    built[pool, index, problem.tiers[tier].workers, written[tier]]
                    for tier in problem.tiers_of(pool)
                ],
            )
            for index, shape in enumerate(known)
        ]
        for pool, known in shapes.items()
    }


def answers_of(problem: Problem, tier: int) -> AnswerLengths:
    """What a tier of a problem writes where requests climb to it."""
    told = problem.tiers[tier]
    if told.kept is None:
        return AnswerLengths(length=told.length)
    before = problem.tiers[tier - 1].length
    return AnswerLengths(length=told.length, draft_length=before, kept_share=told.kept)


def _work(shape: ParallelShape) -> float:
    """Grows with the steps that a simulation of the shape takes."""
    return float(np.log2(shape.pp) - shape.times.decode_s(1))
