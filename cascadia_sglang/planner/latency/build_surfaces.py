"""Builds the latency surfaces of a problem's pools, or reads those of an earlier run.

A shape is simulated once for what a tier writes, however many replicas, shares and candidates are
looked at later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from cascadia_sglang.planner.latency.simulated import PoolSurfaces
from cascadia_sglang.planner.latency.surface_cache import (
    drop_oldest,
    keep_numbers,
    read_numbers,
    surface_key,
)
from cascadia_sglang.planner.latency.surfaces import ParallelShape, Surface, build_surface
from cascadia_sglang.planner.problem.problem import Problem
from cascadia_sglang.planner.progress import JobRunner
from cascadia_sglang.planner.simulation.paths import shared_paths
from cascadia_sglang.planner.workload.workload import Workload

# Requests of a workload that a surface is simulated with at most, drawn from all of it, and the
# tokens of their answers.
SURFACE_REQUESTS, SURFACE_TOKENS = 1_000, 240_000
# Of arrival times as shares of the workload's span: rounding at another rate changes none.
_DECIMALS = 9


class AnswerLengths(msgspec.Struct, frozen=True, kw_only=True):
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


def surface_of(job: SurfaceJob) -> Surface:
    """Build the surface of a job."""
    answers = job.answers
    paths = shared_paths(job.workload, [1.0], [answers.length], None, 0)
    if answers.kept_share is not None:
        drafts = shared_paths(job.workload, [1.0], [answers.draft_length], None, 0)
        paths = replace(paths, draft_tokens_R=drafts.tokens_RT[:, 0])
    return build_surface(job.workload, paths, job.shape, kept_share=answers.kept_share)


def build_surfaces(
    problem: Problem,
    workload: Workload,
    shapes: Mapping[str, Sequence[ParallelShape]],
    runner: JobRunner,
) -> PoolSurfaces:
    """Surfaces of every tier on every shape of its pool; those of an earlier run are read again.

    Args:
        shapes: of each pool, each holding every request of the workload.

    Returns:
        At least one shape of every pool, all of them unless the time is over before.
    """
    part = normalised(workload.thinned(workload.count_within(SURFACE_REQUESTS, SURFACE_TOKENS)))
    written = [answers_of(problem, tier) for tier in range(len(problem.tiers))]
    jobs: dict[tuple[str, int, str, AnswerLengths], SurfaceJob] = {}
    for pool, pool_shapes in shapes.items():
        for index, shape in enumerate(pool_shapes):
            for tier in problem.tiers_of(pool):
                problem_tier, answers = problem.tiers[tier], written[tier]
                tier_shape = shape.of_tier(problem_tier.name)
                job = SurfaceJob(workload=part, shape=tier_shape, answers=answers)
                jobs[pool, index, problem_tier.workers, answers] = job
    runner.progress.begin("latency surfaces", len(jobs))
    # One shape of every pool first, so that there is a plan however little time there is.
    first = [key for key in jobs if key[1] == 0]
    surfaces = runner.run(known_surface, [jobs[key] for key in first], is_needed=True)
    built = {
        key: surface for key, surface in zip(first, surfaces, strict=True) if surface is not None
    }
    # Then the slowest devices, which take the most steps: begun first, they keep no thread waiting.
    rest = sorted((key for key in jobs if key[1]), key=lambda key: -_work(jobs[key].shape))
    surfaces = runner.run(known_surface, [jobs[key] for key in rest])
    built |= {
        key: surface for key, surface in zip(rest, surfaces, strict=True) if surface is not None
    }
    drop_oldest()
    return {
        pool: [
            (shape, found_T)
            for index, shape in enumerate(pool_shapes)
            if (found_T := _of_shape(problem, built, pool, index, written)) is not None
        ]
        for pool, pool_shapes in shapes.items()
    }


def _of_shape(
    problem: Problem,
    built: Mapping[tuple[str, int, str, AnswerLengths], Surface],
    pool: str,
    index: int,
    written: Sequence[AnswerLengths],
) -> list[Surface] | None:
    """The surfaces of the pool's tiers on one shape; None where one is missing."""
    keys = [
        (pool, index, problem.tiers[tier].workers, written[tier]) for tier in problem.tiers_of(pool)
    ]
    return [built[key] for key in keys] if all(key in built for key in keys) else None


def normalised(workload: Workload) -> Workload:
    """The same requests over about one second: equal for every rate that they are planned for."""
    span_s = float(workload.arrival_s_R[-1])
    return replace(workload, arrival_s_R=np.round(workload.arrival_s_R / span_s, _DECIMALS))


def known_surface(job: SurfaceJob) -> Surface:
    """The surface of a job: read from the cache, or built and kept there."""
    key = surface_key(job.workload, job.shape, msgspec.structs.astuple(job.answers))
    numbers = read_numbers(key)
    if numbers is not None:
        return numbers.surface(job.shape)
    surface = surface_of(job)
    keep_numbers(key, surface)
    return surface


def answers_of(problem: Problem, tier: int) -> AnswerLengths:
    """What a tier of a problem writes where requests climb to it."""
    problem_tier = problem.tiers[tier]
    if problem_tier.kept is None:
        return AnswerLengths(length=problem_tier.length)
    before = problem.tiers[tier - 1].length
    return AnswerLengths(
        length=problem_tier.length, draft_length=before, kept_share=problem_tier.kept
    )


def _work(shape: ParallelShape) -> float:
    """Grows with the steps that a simulation of the shape takes."""
    return float(np.log2(shape.pp) - shape.times.decode_s(1))
