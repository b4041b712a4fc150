"""Why a problem has no plan: the floor nobody reaches, or the tier and the GPUs it lacks."""

from __future__ import annotations

from collections.abc import Sequence

from cascadia_sglang.errors import InfeasiblePlanError
from cascadia_sglang.planner.deployment.columns import choices_of, resources_of, uses_of
from cascadia_sglang.planner.problem.problem import Candidate, Problem


def at_the_floor(problem: Problem) -> list[int]:
    """Indices of the candidates whose quality reaches the floor.

    Raises:
        InfeasiblePlanError: if none does.
    """
    floor = problem.quality_floor
    qualities = [candidate.quality for candidate in problem.candidates]
    reaching = [i for i, quality in enumerate(qualities) if floor is None or quality >= floor]
    if not reaching:
        raise InfeasiblePlanError(
            f"quality_floor {floor} is above what any candidate reaches: at most {max(qualities)}"
        )
    return reaching


def shortage(problem: Problem, indices: Sequence[int]) -> InfeasiblePlanError:
    """Why none of these candidates has a deployment, told of the one that lacks the fewest GPUs."""
    reasons = [_shortage_of(problem, problem.candidates[index]) for index in indices]
    return min(reasons, key=lambda reason: (reason.lacks_gpus == 0, reason.lacks_gpus))


def _shortage_of(problem: Problem, candidate: Candidate) -> InfeasiblePlanError:
    """Too few GPUs in all, or else too few of a type."""
    resources, capacity = resources_of(problem)
    everything = _first_short(problem, candidate, ("gpu_budget",), [problem.gpu_budget])
    of_a_type = _first_short(problem, candidate, resources, capacity)
    return (
        everything
        or of_a_type
        or InfeasiblePlanError("the types of GPU cannot be shared out among the tiers")
    )


def _first_short(
    problem: Problem, candidate: Candidate, resources: tuple[str, ...], remaining: list[int]
) -> InfeasiblePlanError | None:
    """Every pool in turn takes its least count; the first that finds too few is the reason."""
    least_total = 0
    short: tuple[str, int, int, int] | None = None
    for pool in problem.pools:
        name = problem.tiers[problem.tiers_of(pool)[0]].name
        choices = [choice for choice, _ in choices_of(problem, candidate, pool)]
        choices.sort(key=lambda choice: choice.gpus)
        if not choices:
            return InfeasiblePlanError(
                f"no count of GPUs serves tier {name!r}: its table is empty, or no shape fits "
                "the memory and the devices of a node",
                tier=name,
            )
        least_total += choices[0].gpus
        lacking = [
            max(
                used - there
                for used, there in zip(uses_of(choice, resources), remaining, strict=True)
            )
            for choice in choices
        ]
        lacks = min(lacking)
        if lacks <= 0:
            taken = choices[next(i for i, number in enumerate(lacking) if number <= 0)]
            remaining = [a - b for a, b in zip(remaining, uses_of(taken, resources), strict=True)]
        elif short is None:
            needs = choices[lacking.index(lacks)].gpus
            short = (name, lacks, needs, needs - lacks)
    if short is None:
        return None
    name, lacks, needs, there = short
    return InfeasiblePlanError(
        f"tier {name!r} lacks {lacks} GPU{'s' if lacks > 1 else ''}: it needs at least {needs} and "
        f"{there} are left to it of gpu_budget {problem.gpu_budget}; all tiers together need at "
        f"least {least_total}",
        tier=name,
        lacks_gpus=lacks,
    )
