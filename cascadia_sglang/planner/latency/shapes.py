"""Ways to lay one replica of a pool on devices: TP, PP and the type of GPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from cascadia_sglang.capacity.types import GpuType
from cascadia_sglang.errors import ConfigError, InfeasiblePlanError
from cascadia_sglang.planner.latency.block_shapes import block_shapes, model_of
from cascadia_sglang.planner.latency.surfaces import ParallelShape
from cascadia_sglang.planner.problem.problem import MeasuredProfile, Problem, ProblemTier
from cascadia_sglang.planner.speed.profile import Profile, load_profile
from cascadia_sglang.planner.speed.roofline import (
    GPUS,
    MEMORY_FOR_WORKER,
    Gpu,
    ModelShape,
    roofline_limits,
    roofline_times,
)
from cascadia_sglang.planner.workload.workload import Workload

# What a sheet says of a type that is not known.
_NEEDED = ("tflops", "memory_gb", "memory_gb_per_s", "link_gb_per_s")


def shapes_of_pools(problem: Problem, workload: Workload) -> dict[str, list[ParallelShape]]:
    """Every shape of every pool that can serve all requests of the workload.

    A profile that was measured for a shape stands in the roofline's place.

    Raises:
        ConfigError: if a model or a profile cannot be read, or a type of GPU is unknown.
        InfeasiblePlanError: if a pool has no shape; names the tier.
    """
    profiles = [(measured, load_profile(Path(measured.path))) for measured in problem.profiles]
    kinds = [(kind, sheet_of(problem, kind)) for kind in problem.cluster]
    by_pool = {}
    for pool in problem.pools:
        tiers = [problem.tiers[index] for index in problem.tiers_of(pool)]
        longest = _longest_tokens(tiers, workload)
        if tiers[0].block is not None:
            by_pool[pool] = block_shapes(
                tiers,
                [shapes_of_tier(problem, tier, profiles, kinds) for tier in tiers],
                {kind.gpu: sheet for kind, sheet in kinds if sheet is not None},
                longest,
            )
            continue
        tier_shapes = shapes_of_tier(problem, tiers[0], profiles, kinds)
        # A stage's lane holds its share of the cache; a prompt needs room for one token more.
        holds = [shape for shape in tier_shapes if shape.limits.kv_tokens // shape.pp > longest + 1]
        if not holds:
            raise InfeasiblePlanError(
                _too_small(tiers[0], tier_shapes, longest), tier=tiers[0].name
            )
        by_pool[pool] = holds
    return by_pool


def shapes_of_tier(
    problem: Problem,
    tier: ProblemTier,
    profiles: list[tuple[MeasuredProfile, Profile]],
    kinds: list[tuple[GpuType, Gpu | None]],
) -> list[ParallelShape]:
    """Every shape of a tier by itself: measured ones, and estimates of the others.

    Raises:
        ConfigError: if it has neither a model nor a profile, or they cannot be read.
    """
    tier_shapes = list(_measured(problem, tier, profiles))
    model = model_of(tier)
    if model is not None:
        taken = {(shape.gpu, shape.tp, shape.pp) for shape in tier_shapes}
        for kind, sheet in kinds:
            tier_shapes += [
                shape
                for shape in _estimated(tier, model, kind, sheet)
                if (shape.gpu, shape.tp, shape.pp) not in taken
            ]
    elif not tier_shapes:
        raise ConfigError(f"tier {tier.name!r} has neither a model nor a profile")
    return tier_shapes


def sheet_of(problem: Problem, kind: GpuType) -> Gpu | None:
    """The data sheet of a type of GPU; None where it is not known.

    Raises:
        ConfigError: if `gpu` describes a type of which a number is missing.
    """
    sheet = GPUS.get(kind.gpu)
    described = problem.gpu
    if described is not None and described.name == kind.gpu:
        numbers = {
            name: getattr(described, name)
            for name in (*_NEEDED, "bandwidth_reached", "host_step_ms")
            if getattr(described, name) is not None
        }
        if sheet is None and not all(name in numbers for name in _NEEDED):
            raise ConfigError(
                f"gpu.name is {described.name!r}, known: {', '.join(GPUS)}; another needs tflops, "
                "memory_gb, memory_gb_per_s and link_gb_per_s"
            )
        sheet = Gpu(name=described.name, **numbers) if sheet is None else replace(sheet, **numbers)
    if sheet is not None and kind.memory_gib is not None:
        sheet = replace(sheet, memory_gb=kind.memory_gib * 2**30 / 1e9 / MEMORY_FOR_WORKER)
    return sheet


def _measured(
    problem: Problem, tier: ProblemTier, profiles: list[tuple[MeasuredProfile, Profile]]
) -> Iterator[ParallelShape]:
    for measured, profile in profiles:
        if tier.name in profile.tiers:
            if tier.name not in profile.limits:
                raise ConfigError(f"profile {measured.path} has no limits of {tier.name!r}")
            yield ParallelShape(
                gpu=measured.gpu or problem.cluster[0].gpu,
                tp=measured.tp_size,
                pp=measured.pp_size,
                times=profile.tiers[tier.name],
                limits=profile.limits[tier.name],
                is_measured=profile.source == "measured",
            )


def _estimated(
    tier: ProblemTier, model: ModelShape, kind: GpuType, sheet: Gpu | None
) -> Iterator[ParallelShape]:
    """Shapes whose TP stays in a node, divides the heads, and whose weights fit.

    Stages are 1, 2, 4, ...: up to `max_pp`, or by default up to the fewest that the weights need
    at this TP.
    """
    if sheet is None:
        raise ConfigError(
            f"gpu {kind.gpu!r} of cluster is not known, known: {', '.join(GPUS)}; describe it in "
            "gpu, or give a profile of every tier"
        )
    widest = min(kind.gpus_per_node, tier.max_tp or kind.gpus_per_node)
    for tp in range(1, widest + 1):
        if kind.gpus_per_node % tp or not _divides(model, tp):
            continue
        pp = 1
        while pp <= min(model.layers, tier.max_pp or model.layers, kind.nodes * kind.gpus_per_node):
            size = tp * pp
            if size > kind.gpus_per_node and size % kind.gpus_per_node:
                break
            limits = roofline_limits(
                model,
                sheet,
                tp,
                pp,
                max_running_requests=tier.max_running_requests,
                chunked_prefill_tokens=tier.chunked_prefill_tokens,
            )
            if limits is not None:
                times = roofline_times(model, sheet, tp, pp)
                yield ParallelShape(gpu=kind.gpu, tp=tp, pp=pp, times=times, limits=limits)
                if tier.max_pp is None:
                    break
            pp *= 2


def _divides(model: ModelShape, tp: int) -> bool:
    """Whether every rank gets whole heads; keys and values may lie on several ranks alike."""
    shards = model.kv_shards
    return model.heads % tp == 0 and (shards % tp == 0 or tp % shards == 0)


def _longest_tokens(tiers: list[ProblemTier], workload: Workload) -> int:
    """KV of the longest request, answer included."""
    return 1 + max(
        int(
            (
                tier.prompt_length * workload.input_tokens_R
                + tier.length * workload.output_tokens_R
            ).max()
        )
        for tier in tiers
    )


def _too_small(tier: ProblemTier, shapes: list[ParallelShape], longest: int) -> str:
    if not shapes:
        return (
            f"no shape serves tier {tier.name!r}: its weights fit no number of devices that "
            "divides its heads and stays within max_tp, max_pp and the cluster"
        )
    most = max(shape.limits.kv_tokens // shape.pp for shape in shapes)
    return (
        f"no shape serves tier {tier.name!r}: the longest request has {longest} tokens, and the "
        f"largest KV cache of a replica holds {most}"
    )
