"""Builds the latency surfaces of a problem's pools, or reads those of an earlier run.

A shape is simulated once for what a tier reads and writes, however many replicas, shares and
candidates are looked at later.
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


class TierLengths(msgspec.Struct, frozen=True, kw_only=True):
    """What a tier reads and writes, relative to the workload's tokens.

    Attributes:
        length: of its answers.
        prompt_length: of its prompts.
        draft_length: of the answers before, which it reads; 0 where it reads none.
        kept_share: of those, what it keeps; None where it reads none.
    """

    length: float
    prompt_length: float = 1.0
    draft_length: float = 0.0
    kept_share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceJob:
    """One surface to build."""

    workload: Workload
    shape: ParallelShape
    lengths: TierLengths


def surface_of(job: SurfaceJob) -> Surface:
    """Build the surface of a job."""
    lengths = job.lengths
    paths = shared_paths(job.workload, [1.0], [lengths.length], None, 0)
    if lengths.kept_share is not None:
        drafts = shared_paths(job.workload, [1.0], [lengths.draft_length], None, 0)
        paths = replace(paths, draft_tokens_R=drafts.tokens_RT[:, 0])
    own_workload = job.workload.with_prompts(lengths.prompt_length)
    return build_surface(own_workload, paths, job.shape, kept_share=lengths.kept_share)


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
    lengths_T = [lengths_of(problem, tier) for tier in range(len(problem.tiers))]
    jobs: dict[tuple[str, int, str, TierLengths], SurfaceJob] = {}
    for pool, pool_shapes in shapes.items():
        for index, shape in enumerate(pool_shapes):
            for tier in problem.tiers_of(pool):
                problem_tier, lengths = problem.tiers[tier], lengths_T[tier]
                tier_shape = shape.of_tier(problem_tier.name)
                job = SurfaceJob(workload=part, shape=tier_shape, lengths=lengths)
                jobs[pool, index, problem_tier.workers, lengths] = job
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
            if (found_T := _of_shape(problem, built, pool, index, lengths_T)) is not None
        ]
        for pool, pool_shapes in shapes.items()
    }


def _of_shape(
    problem: Problem,
    built: Mapping[tuple[str, int, str, TierLengths], Surface],
    pool: str,
    index: int,
    lengths_T: Sequence[TierLengths],
) -> list[Surface] | None:
    """The surfaces of the pool's tiers on one shape; None where one is missing."""
    keys = [
        (pool, index, problem.tiers[tier].workers, lengths_T[tier])
        for tier in problem.tiers_of(pool)
    ]
    return [built[key] for key in keys] if all(key in built for key in keys) else None


def normalised(workload: Workload) -> Workload:
    """The same requests over about one second: equal for every rate that they are planned for."""
    span_s = float(workload.arrival_s_R[-1])
    return replace(workload, arrival_s_R=np.round(workload.arrival_s_R / span_s, _DECIMALS))


def known_surface(job: SurfaceJob) -> Surface:
    """The surface of a job: read from the cache, or built and kept there."""
    key = surface_key(job.workload, job.shape, msgspec.structs.astuple(job.lengths))
    numbers = read_numbers(key)
    if numbers is not None:
        return numbers.surface(job.shape)
    surface = surface_of(job)
    keep_numbers(key, surface)
    return surface


def lengths_of(problem: Problem, tier: int) -> TierLengths:
    """What a tier of a problem reads and writes where requests climb to it."""
    reader = problem.tiers[tier]
    if reader.kept is None:
        return TierLengths(length=reader.length, prompt_length=reader.prompt_length)
    before = problem.tiers[tier - 1]
    return TierLengths(
        length=reader.length,
        prompt_length=reader.prompt_length,
        # In the tokens of the tier that reads.
        draft_length=before.length * reader.prompt_length / before.prompt_length,
        kept_share=reader.kept,
    )


def _work(shape: ParallelShape) -> float:
    """Grows with the steps that a simulation of the shape takes."""
    return float(np.log2(shape.pp) - shape.times.decode_s(1))
