"""Checks of a problem file beyond the types of its fields."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import isfinite
from pathlib import Path

import msgspec

from cascadia_sglang.capacity.devices import misplaced
from cascadia_sglang.capacity.types import MOST, GpuType
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.files.struct_file import load_struct
from cascadia_sglang.models.hub_check import is_hub_name
from cascadia_sglang.planner.problem.problem import (
    Candidate,
    Deployment,
    GpuSheet,
    Problem,
    ProblemTier,
    read_problem,
)
from cascadia_sglang.planner.problem.workload_checks import workload_problems
from cascadia_sglang.value_ranges import bound_problems


def load_problem(path: Path | str, *, gpu_budget: int | None = None) -> Problem:
    """Read and check a problem file.

    Args:
        gpu_budget: in place of the file's.

    Raises:
        ConfigError: one line that names the file, the place, the value and what is allowed.
    """
    path = Path(path)
    problem = read_problem(path)
    if gpu_budget is not None:
        problem = msgspec.structs.replace(problem, gpu_budget=gpu_budget)
    return completed(problem, path.parent, str(path))


def completed(problem: Problem, folder: Path, name: str) -> Problem:
    """A checked problem with paths from the root, and a cluster of what `gpu` names.

    Args:
        folder: that its paths are relative to.
        name: of the problem, for errors.

    Raises:
        ConfigError: one line that names the problem, the place, the value and what is allowed.
    """
    whole = _completed(problem, folder)
    for line in problems_of(whole):
        raise ConfigError(f"problem {name}: {line}")
    return whole


def problems_of(problem: Problem) -> Iterator[str]:
    """Everything that is wrong, a line each with its place."""
    if problem.version != 1:
        yield f"version is {problem.version}, allowed: 1"
    yield from bound_problems(problem)
    yield from _tiers(problem)
    if bool(problem.candidates) == bool(problem.calibration):
        yield "needed: candidates, or calibration with latency_by_share_s or workload; not both"
    for index, candidate in enumerate(problem.candidates):
        for line in _candidate(problem, candidate):
            yield f"candidates[{index}].{line}"
    if problem.calibration or problem.latency_by_share_s:
        yield from _routing(problem)
    if problem.workload is not None:
        yield from workload_problems(problem, problem.workload)
    yield from _slo(problem)
    yield from _cluster(problem)


def _completed(problem: Problem, folder: Path) -> Problem:
    def placed(path: str) -> str:
        return str((folder / path).resolve())

    def with_model(tier: ProblemTier) -> ProblemTier:
        if not isinstance(tier.model, str):
            return tier
        if is_hub_name(tier.model) and not (folder / tier.model).exists():
            return tier
        return msgspec.structs.replace(tier, model=placed(tier.model))

    replaced = msgspec.structs.replace
    source = problem.workload
    if source is not None and source.trace is not None:
        source = replaced(source, trace=placed(source.trace))
    cluster, sheet = problem.cluster, problem.gpu
    if sheet is not None and sheet.file is not None:
        sheet = _with_sheet(sheet, placed(sheet.file))
    if sheet is not None and not cluster and sheet.gpus_per_node >= 1:
        nodes = -(-problem.gpu_budget // sheet.gpus_per_node)
        cluster = [GpuType(gpu=sheet.name, nodes=nodes, gpus_per_node=sheet.gpus_per_node)]
    return replaced(
        problem,
        tiers=[with_model(tier) for tier in problem.tiers],
        profiles=[replaced(profile, path=placed(profile.path)) for profile in problem.profiles],
        workload=source,
        cluster=cluster,
        gpu=sheet,
    )


def _with_sheet(inline: GpuSheet, path: str) -> GpuSheet:
    """A sheet with what its file says where it says nothing itself."""
    sheet = load_struct(Path(path), GpuSheet, "gpu sheet")
    if sheet.name != inline.name:
        raise ConfigError(f"gpu sheet {path}: name is {sheet.name!r}, needed: {inline.name!r}")
    given = {
        name: getattr(inline, name)
        for name in GpuSheet.__struct_fields__
        if name != "file" and getattr(inline, name) is not None
    }
    # The number of a node's devices has a default, which must not hide the file's.
    if inline.gpus_per_node == GpuSheet(name=inline.name).gpus_per_node:
        given.pop("gpus_per_node")
    return msgspec.structs.replace(sheet, **given)


def _slo(problem: Problem) -> Iterator[str]:
    if problem.objective == "slo":
        if problem.workload is None:
            yield "objective slo needs a workload: tables say nothing of single requests"
        if not problem.slo.has_targets:
            yield "objective slo needs a target in slo: e2e_ms, ttft_ms or tpot_ms"
    if problem.price_per_gpu_hour:
        types = {kind.gpu for kind in problem.cluster}
        for name in sorted(set(problem.price_per_gpu_hour) ^ types):
            yield (
                f"price_per_gpu_hour {'has' if name not in types else 'lacks'} {name!r}, needed: "
                f"{', '.join(sorted(types)) or 'a cluster'}"
            )


def _tiers(problem: Problem) -> Iterator[str]:
    if not problem.tiers:
        yield "tiers is empty, needed: at least one"
    names = [tier.name for tier in problem.tiers]
    for index, tier in enumerate(problem.tiers):
        if tier.name in names[:index]:
            yield f"tiers[{index}].name {tier.name!r} is used twice"
        yield from _block(problem, index, tier)


def _block(problem: Problem, index: int, tier: ProblemTier) -> Iterator[str]:
    if tier.gpu_share is not None and tier.block is None:
        yield f"tiers[{index}].gpu_share needs a block"
    if tier.block is None:
        return
    mates = [other for other in problem.tiers if other.block == tier.block]
    for other in problem.tiers:
        if other.block != tier.block and tier.block in (other.name, other.pool):
            yield f"tiers[{index}].block {tier.block!r} is also a tier or a pool"
        if other.block != tier.block and other.workers == tier.workers:
            yield f"tiers[{index}].block: {tier.workers!r} has tiers outside of it"
    shares = {mate.workers: mate.gpu_share or 0.0 for mate in mates}
    if sum(shares.values()) > 1.0 + 1e-9:
        yield f"tiers[{index}].block: the gpu_share of its tiers sum to {sum(shares.values()):g}"


def _candidate(problem: Problem, candidate: Candidate) -> Iterator[str]:
    tiers = len(problem.tiers)
    yield from _length("thresholds", candidate.thresholds, tiers - 1, "one a tier but the last")
    yield from _length("shares", candidate.shares, tiers, "one a tier")
    if bool(candidate.latency_s) == bool(candidate.deployments):
        yield "latency_s or deployments is needed, not both"
    if candidate.latency_s:
        yield from _length("latency_s", candidate.latency_s, tiers, "one table a tier")
        for index, table in enumerate(candidate.latency_s):
            for gpus, latency_s in table.items():
                field = f'latency_s[{index}]["{gpus}"]'
                yield from _count(f"GPUs of {field}", gpus)
                yield from _range(field, latency_s, 0)
    for index, deployment in enumerate(candidate.deployments):
        for line in _deployment(problem, deployment):
            yield f"deployments[{index}].{line}"


def _deployment(problem: Problem, deployment: Deployment) -> Iterator[str]:
    if deployment.pool not in problem.pools:
        yield f"pool is {deployment.pool!r}, allowed: {', '.join(problem.pools)}"
        return
    types = [kind.gpu for kind in problem.cluster]
    if deployment.gpu not in types:
        yield f"gpu is {deployment.gpu!r}, allowed: {', '.join(types) or 'what cluster lists'}"
    served = {problem.tiers[index].name for index in problem.tiers_of(deployment.pool)}
    if set(deployment.latency_s) != served:
        yield f"latency_s has {sorted(deployment.latency_s)}, needed: {sorted(served)}"
    for name, latency_s in deployment.latency_s.items():
        yield from _range(f"latency_s[{name!r}]", latency_s, 0)


def _routing(problem: Problem) -> Iterator[str]:
    tiers = len(problem.tiers)
    if problem.workload is None:
        yield from _length("latency_by_share_s", problem.latency_by_share_s, tiers, "one a tier")
    for index, row in enumerate(problem.calibration):
        field = f"calibration[{index}]"
        yield from _length(f"{field}.scores", row.scores, tiers - 1, "one a tier but the last")
        yield from _length(f"{field}.correct", row.correct, tiers, "one a tier")
        if row.entry:
            yield from _length(f"{field}.entry", row.entry, tiers - 1, "one a tier but the last")
    if problem.calibration and not sum(row.weight for row in problem.calibration) > 0:
        yield "calibration has no row of a weight above 0"
    for index, table in enumerate(problem.latency_by_share_s):
        for gpus, pairs in table.items():
            field = f'latency_by_share_s[{index}]["{gpus}"]'
            yield from _count(f"GPUs of {field}", gpus)
            yield from _curve(field, pairs)
    settings = problem.routing
    if settings.confidence is not None and problem.quality_floor is None:
        yield "routing.confidence needs a quality_floor to certify"


def _curve(field: str, pairs: Sequence[tuple[float, float]]) -> Iterator[str]:
    if not pairs:
        yield f"{field} is empty, needed: at least one pair (share, seconds)"
    for index, (share, latency_s) in enumerate(pairs):
        yield from _range(f"{field}[{index}][0]", share, 0, 1)
        yield from _range(f"{field}[{index}][1]", latency_s, 0)
    for index, (before, after) in enumerate(pairwise(pairs), start=1):
        if not before[0] < after[0]:
            yield f"{field}[{index}][0] is {after[0]}, allowed: above {before[0]}"
        if after[1] < before[1]:
            yield f"{field}[{index}][1] is {after[1]}, allowed: {before[1]} or more"


def _cluster(problem: Problem) -> Iterator[str]:
    names = [kind.gpu for kind in problem.cluster]
    for index, kind in enumerate(problem.cluster):
        if kind.gpu in names[:index]:
            yield f"cluster[{index}].gpu {kind.gpu!r} is used twice"
    for index, replica in enumerate(problem.running):
        if replica.pp_size > 1 and replica.gpu_id_step > 1:
            yield (
                f"running[{index}].gpu_id_step is {replica.gpu_id_step}, "
                "allowed: 1 where pp_size is above 1"
            )
    for index, line in misplaced(problem.running, problem.cluster):
        yield f"running[{index}]: {line}"


def _count(field: str, number: int) -> Iterator[str]:
    if not 1 <= number <= MOST:
        yield f"{field} is {number}, allowed: 1 to {MOST}"


def _range(field: str, value: float, low: float, high: float | None = None) -> Iterator[str]:
    if not isfinite(value) or value < low or (high is not None and value > high):
        allowed = f"{low} or more" if high is None else f"{low} to {high}"
        yield f"{field} is {value}, allowed: {allowed}"


def _length(field: str, values: Sequence[object], expected: int, why: str) -> Iterator[str]:
    if len(values) != max(0, expected):
        yield f"{field} has {len(values)} entries, needed: {max(0, expected)}, {why}"
