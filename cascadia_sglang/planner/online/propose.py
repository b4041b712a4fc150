"""Plans for the traffic of a window: simulates splits and thresholds on it. Pure.

Parallel sizes do not change. Without a sample, the window's requests keep their own lengths and
paths, and the thresholds stay. With a sample, prompts like the window's are drawn from it, and
thresholds that keep the quality floor are simulated too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import msgspec

from cascadia_sglang.errors import InfeasiblePlanError
from cascadia_sglang.planner.online.plan_request import PlanRequest
from cascadia_sglang.planner.online.proposal import PredictedQuality, Proposal
from cascadia_sglang.planner.online.weighted_sample import (
    CandidateThresholds,
    EntryWindow,
    WeightedSample,
    weighted_sample,
)
from cascadia_sglang.planner.online.window_simulation import Split, WindowSimulation
from cascadia_sglang.planner.thresholds.sample import PlanSample

# Splits that are simulated at most, each under a few thresholds.
MAX_SPLITS = 600


def propose(request: PlanRequest, sample: PlanSample | None = None) -> Proposal:
    """The best split of the budget, by the objective; `solve_s` is for the caller to fill in.

    Args:
        sample: of the same tiers; counts where the request has a quality floor.

    Raises:
        WorkloadError: if the window says too little.
        InfeasiblePlanError: if there are too many splits to look at, or none.
    """
    # A pool without replicas was dropped by whoever runs the server; it stays so.
    names = [name for name, pool in request.pools.items() if pool.replicas]
    weighted = None
    if sample is not None and len(names) == len(request.pools):
        weighted = _weighted(request, sample)
    current = tuple(request.pools[name].replicas for name in names)
    splits = list(_splits(request, names))
    if not splits:
        raise InfeasiblePlanError(f"{request.gpu_budget} devices leave no split of the replicas")
    tried = _tried(request, weighted)
    window = WindowSimulation(request, weighted, len(splits) * len(tried))

    def worth(pair: tuple[Split, CandidateThresholds]) -> tuple[float, bool, int]:
        """Of several that are as good, the one that changes least is the least."""
        split, thresholds = pair
        value = window.value(names, split, thresholds.values)
        return value, thresholds is not tried[0], _distance(split, current)

    split, chosen = min(itertools.product(splits, tried), key=worth)
    is_kept = chosen.values == request.thresholds
    return Proposal(
        pools=request.pools
        | {
            name: msgspec.structs.replace(request.pools[name], replicas=count)
            for name, count in zip(names, split, strict=True)
        },
        thresholds=None if is_kept else chosen.values,
        quality=None if weighted is None else _quality(request, weighted, chosen),
        current_s=window.mean_s(names, current, request.thresholds),
        predicted_s=window.mean_s(names, split, chosen.values),
        interim_extra_s=_interim_extra_s(request, weighted, names, current, split),
        solve_s=0.0,
    )


def _interim_extra_s(
    request: PlanRequest,
    weighted: WeightedSample | None,
    names: Sequence[str],
    current: Split,
    split: Split,
) -> float:
    """How much longer a request takes on the replicas of both splits than on the current ones.

    What their loss comes to depends on how long it lasts, so the window is repeated for as long as
    the new ones need to start. 0 where nothing is lost or nothing starts.
    """
    pairs = list(zip(names, current, split, strict=True))
    starting_s = sum(max(0, new - old) * request.start_s.get(name, 0.0) for name, old, new in pairs)
    remaining = tuple(min(old, new) for _, old, new in pairs)
    if starting_s <= 0.0 or remaining == current:
        return 0.0
    meanwhile = WindowSimulation(
        msgspec.structs.replace(request, horizon_s=starting_s), weighted, 2
    )
    now_s, kept_s = (
        meanwhile.mean_s(names, replicas, request.thresholds) for replicas in (current, remaining)
    )
    return max(0.0, kept_s - now_s)


def _weighted(request: PlanRequest, sample: PlanSample) -> WeightedSample | None:
    if request.quality_floor is None:
        return None
    scored = [row for row, score in enumerate(request.entry_score_R) if score is not None]
    ended = [row for row, is_ended in enumerate(request.ended_early_R) if is_ended]
    window = EntryWindow(
        scores=[score for score in request.entry_score_R if score is not None],
        input_tokens=[request.input_tokens_R[row] for row in scored + ended],
        output_tokens=[request.tokens_RT[row][0] for row in scored],
        ended=len(ended),
        threshold=request.thresholds[0],
    )
    return weighted_sample(sample, window.values(sample)) if window.is_enough else None


def _tried(request: PlanRequest, weighted: WeightedSample | None) -> list[CandidateThresholds]:
    """Those in force first, unless others keep the floor and they do not."""
    if weighted is None or request.quality_floor is None:
        return [CandidateThresholds(values=request.thresholds, quality=math.nan)]
    now = CandidateThresholds(
        values=request.thresholds, quality=weighted.quality(request.thresholds)
    )
    others = weighted.candidates(request.quality_floor)
    if now.quality < request.quality_floor and others:
        return others
    return [now, *(candidate for candidate in others if candidate.values != now.values)]


def _quality(
    request: PlanRequest, weighted: WeightedSample, chosen: CandidateThresholds
) -> PredictedQuality:
    assert request.quality_floor is not None
    return PredictedQuality(
        floor=request.quality_floor,
        current=weighted.quality(request.thresholds),
        predicted=chosen.quality,
        effective_size=weighted.effective_size,
    )


def _splits(request: PlanRequest, names: Sequence[str]) -> Iterator[Split]:
    """Replicas of these pools, at least one each, such that no further one fits the budget."""
    first_of = {name: _first_of_block(request, name, names) for name in names}
    for counts in _unit_splits(request, list(dict.fromkeys(first_of.values()))):
        yield tuple(counts[first_of[name]] for name in names)


def _first_of_block(request: PlanRequest, name: str, names: Sequence[str]) -> str:
    """The first of the pools that a pool shares devices with; itself where it shares none."""
    block = next((block for block in request.blocks if name in block), [name])
    return next(other for other in names if other in block)


def _unit_splits(request: PlanRequest, units: Sequence[str]) -> Iterator[dict[str, int]]:
    """The same by the first pool of every block: its others lie on the same devices."""
    sizes = [request.pools[name].replica_gpus for name in units]
    spare = request.gpu_budget - sum(sizes)
    if spare < 0:
        return
    if math.prod(spare // size + 1 for size in sizes[1:]) > 100 * MAX_SPLITS:
        raise InfeasiblePlanError(f"{request.gpu_budget} devices have too many splits to simulate")
    count_of_splits = 0
    for more in itertools.product(*(range(spare // size + 1) for size in sizes[1:])):
        rest = spare - sum(count * size for count, size in zip(more, sizes[1:], strict=True))
        if rest < 0:
            continue
        first = rest // sizes[0]
        if rest - first * sizes[0] >= min(sizes):
            continue
        count_of_splits += 1
        if count_of_splits > MAX_SPLITS:
            raise InfeasiblePlanError(f"there are more than {MAX_SPLITS} splits to simulate")
        yield dict(zip(units, (1 + first, *(1 + count for count in more)), strict=True))


def _distance(split: Split, current: Split) -> int:
    return sum(abs(a - b) for a, b in zip(split, current, strict=True))
