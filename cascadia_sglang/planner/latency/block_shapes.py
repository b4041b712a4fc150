"""Ways to lay the workers of a block on the same devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from cascadia_sglang.errors import ConfigError, InfeasiblePlanError
from cascadia_sglang.planner.latency.surfaces import ParallelShape
from cascadia_sglang.planner.problem.problem import ProblemTier
from cascadia_sglang.planner.speed.roofline import (
    MEMORY_FOR_WORKER,
    Gpu,
    ModelShape,
    load_shape,
    shape_of_config,
)


def block_shapes(
    tiers: Sequence[ProblemTier],
    alone_T: Sequence[Sequence[ParallelShape]],
    sheets: Mapping[str, Gpu],
    longest_tokens: int,
) -> list[ParallelShape]:
    """Shapes that every tier of a block has, each tier with its part of the memory.

    Args:
        alone_T: shapes of each tier that has the devices to itself.
        sheets: by type of GPU; memory is divided where the type is known.
        longest_tokens: of a request.

    Raises:
        InfeasiblePlanError: if there is none; names the tier and the gigabytes that it lacks.
    """
    by_place_T = [
        {(shape.gpu, shape.tp, shape.pp): shape for shape in shapes} for shapes in alone_T
    ]
    common: list[ParallelShape] = []
    lacking: list[tuple[float, ProblemTier]] = []
    for layout in by_place_T[0]:
        if not all(layout in by_layout for by_layout in by_place_T):
            continue
        shapes_T = [by_layout[layout] for by_layout in by_place_T]
        tokens_T = _tokens(tiers, shapes_T, sheets.get(layout[0]))
        lacks_T = [
            _lacks_gb(tier, shape, tokens, longest_tokens)
            for tier, shape, tokens in zip(tiers, shapes_T, tokens_T, strict=True)
        ]
        if max(lacks_T) > 0:
            lacking.append((max(lacks_T), tiers[lacks_T.index(max(lacks_T))]))
            continue
        parts = {
            tier.name: replace(
                shape, limits=msgspec.structs.replace(shape.limits, kv_tokens=int(tokens))
            )
            for tier, shape, tokens in zip(tiers, shapes_T, tokens_T, strict=True)
        }
        common.append(replace(parts[tiers[0].name], parts=parts))
    if not common:
        raise _none_fits(tiers, lacking)
    return common


def model_of(tier: ProblemTier) -> ModelShape | None:
    """The sizes of a tier's model, or None where it names none.

    Raises:
        ConfigError: if they cannot be read; names the place.
    """
    if tier.model is None:
        return None
    if isinstance(tier.model, str):
        return load_shape(tier.model)
    try:
        return shape_of_config(tier.model)
    except KeyError as error:
        raise ConfigError(f"model of tier {tier.name!r}: {error.args[0]} is missing") from error
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model of tier {tier.name!r}: {error}") from error


def _tokens(
    tiers: Sequence[ProblemTier], shapes_T: Sequence[ParallelShape], sheet: Gpu | None
) -> list[float]:
    """Tokens of each tier's key-value pool; below 0 by what its weights lack.

    Tiers that share workers have one pool. A measured tier keeps its own, which the profile's
    worker had beside the others.
    """
    owners = {tier.workers: index for index, tier in reversed(list(enumerate(tiers)))}
    sizes = {
        name: _sizes(tiers[index], shapes_T[index])
        for name, index in owners.items()
        if not shapes_T[index].is_measured
    }
    room = 0.0 if sheet is None else sheet.memory_gb * 1e9 * MEMORY_FOR_WORKER
    given = {name: tiers[owners[name]].gpu_share for name in sizes}
    rest = room * (1.0 - sum(share or 0.0 for share in given.values()))
    free = [name for name in sizes if given[name] is None]
    remaining = rest - sum(sizes[name][0] for name in free)
    each = remaining / sum(sizes[name][1] for name in free) if free else 0.0
    tokens = {
        name: each if share is None else (room * share - sizes[name][0]) / sizes[name][1]
        for name, share in given.items()
    }
    return [
        tokens.get(tier.workers, float(shape.limits.kv_tokens))
        for tier, shape in zip(tiers, shapes_T, strict=True)
    ]


def _sizes(tier: ProblemTier, shape: ParallelShape) -> tuple[float, float]:
    """Bytes on each device: of the weights, and of a token's keys and values."""
    model = model_of(tier)
    if model is None:
        raise ConfigError(f"tier {tier.name!r} has neither a model nor a profile")
    weights = model.parameters * model.weight_bytes / shape.gpus
    return weights, model.kv_bytes / (shape.pp * min(shape.tp, model.kv_shards))


def _lacks_gb(tier: ProblemTier, shape: ParallelShape, tokens: float, longest_tokens: int) -> float:
    """Gigabytes of a device that are missing for the longest request; 0 or less where it fits."""
    # A stage's lane holds its share of the cache; a prompt needs room for one token more.
    missing = (longest_tokens + 2) * shape.pp - tokens
    if missing <= 0 or model_of(tier) is None:
        return 0.0 if missing <= 0 else float("inf")
    return missing * _sizes(tier, shape)[1] / 1e9


def _none_fits(
    tiers: Sequence[ProblemTier], lacking: Sequence[tuple[float, ProblemTier]]
) -> InfeasiblePlanError:
    if not lacking:
        return InfeasiblePlanError(
            f"tiers {', '.join(tier.name for tier in tiers)} of block {tiers[0].block!r} have no "
            "shape in common that fits their devices",
            tier=tiers[0].name,
        )
    lacks_gb, tier = min(lacking, key=lambda pair: pair[0])
    return InfeasiblePlanError(
        f"tier {tier.name!r} lacks {lacks_gb:.1f} GB on each device of block {tier.block!r}",
        tier=tier.name,
    )
