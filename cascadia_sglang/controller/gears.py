"""Between two plans: thresholds that give way while queues are long. Pure.

Gear 0 is the plan's thresholds. Every further gear accepts more at the smaller tiers, down to a
floor: no gear accepts an answer whose calibrated chance of being acceptable is below it, so the
mean quality of what a gear accepts is not below it either, as far as the calibration is true.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

# Quiet looks in a row after which one gear is taken back: a second at five looks a second.
CALM_LOOKS = 5


def gear_table(thresholds: Sequence[float], floor: float, gears: int) -> list[tuple[float, ...]]:
    """Thresholds of every gear, gear 0 first; they fall evenly to the floor.

    A threshold that is below the floor already stays.
    """
    return [
        tuple(
            threshold - (threshold - min(threshold, floor)) * gear / gears
            for threshold in thresholds
        )
        for gear in range(gears + 1)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class GearState:
    """The gear in force, and for how many looks the queues have been short."""

    gear: int = 0
    calm: int = 0


def shifted(lever: GearState, pressure: float, gears: int) -> GearState:
    """After one more look: up at once, down one at a time after a while of calm.

    Args:
        pressure: attempts a worker of the fullest later tier holds, over what it may hold; from 1
            on the gear rises, from a half down it may fall.
    """
    if pressure >= 1.0:
        return GearState(gear=min(lever.gear + 1, gears))
    if pressure > 0.5 or lever.gear == 0:
        return replace(lever, calm=0)
    if lever.calm + 1 < CALM_LOOKS:
        return replace(lever, calm=lever.calm + 1)
    return GearState(gear=lever.gear - 1)


def pressure_of(attempts: Sequence[Sequence[int]], queue: int) -> float:
    """Of the tiers above the first: the fullest one's attempts a worker, over `queue`.

    Args:
        attempts: of every worker that accepts requests, by tier. A tier without one has none.
    """
    return max(
        (sum(of_tier) / len(of_tier) / queue for of_tier in attempts[1:] if of_tier), default=0.0
    )
