"""The price in seconds of an attempt on a worker, and of beginning at a tier. Pure.

Everything is in seconds of the request that asks, so nothing has to be weighed against anything:
the prompt's tokens that are cached save their prefill, the requests ahead cost theirs, and a
crowded worker's decode steps take longer. With speculative decoding a step gives several tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cascadia_sglang.prefix.speed import PublishedLoad, Speed


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOffer:
    """What a worker could do for a prompt.

    Attributes:
        cached_tokens: of the prompt, held by it.
        attempts: that it runs or that wait there, by the router's own count.
        unseen_tokens: uncached prompt tokens sent there since its load was published.
        load: as published; None where it has published none.
    """

    cached_tokens: int
    attempts: int
    unseen_tokens: int = 0
    load: PublishedLoad | None = None


def attempt_s(offer: WorkerOffer, prompt_tokens: int, output_tokens: float, speed: Speed) -> float:
    """Seconds until an attempt would be done: the queue's prefill, its own, and its decode steps.

    Where a worker runs as many requests as it may, the attempt waits one more answer's time for
    every full batch ahead of it.

    Args:
        output_tokens: that such an attempt generates on average.
    """
    ahead = offer.unseen_tokens
    places = None
    if offer.load is not None:
        ahead += offer.load.waiting_tokens
        places = offer.load.max_running
    prefill_s = (ahead + max(0, prompt_tokens - offer.cached_tokens)) * speed.prefill_s
    batch = offer.attempts + 1
    rounds = 1.0
    if places is not None and places > 0 and batch > places:
        rounds += (batch - places) / places
        batch = places
    return prefill_s + rounds * output_tokens * speed.token_s(batch)


def cheapest(
    offers: Sequence[WorkerOffer], prompt_tokens: int, output_tokens: float, speed: Speed
) -> int:
    """Index of the offer that is done first; of equal ones the one with the fewest attempts."""
    costs = [attempt_s(offer, prompt_tokens, output_tokens, speed) for offer in offers]
    return min(range(len(offers)), key=lambda i: (costs[i], offers[i].attempts, i))


def entry_prices(attempts_s: Sequence[float], accepted: Sequence[float]) -> list[float]:
    """Expected seconds to an accepted answer, entering at each tier.

    Entering at tier i costs its attempt, and with the chance that it is not accepted, entering at
    the next one: E_i = T_i + (1 - p_i) E_(i+1), and E = T at the last.

    Args:
        attempts_s: seconds of an attempt on each tier, smallest first.
        accepted: chance that an answer of each tier but the last is accepted.
    """
    prices = [attempts_s[-1]]
    for seconds, chance in zip(reversed(attempts_s[:-1]), reversed(accepted), strict=True):
        prices.append(seconds + (1.0 - chance) * prices[-1])
    return prices[::-1]
