"""How likely it is that a prompt's prefix will be wanted on the next tier. Pure.

A prefix is wanted there when this request escalates, or a later one that begins with it does: the
next turn of a conversation, another request under the same system message. Later requests come with
a chance that is learned from how often a prompt's beginning has been seen before.
"""


class Share:
    """A share that follows the last few hundred cases: an exponential mean with a prior."""

    def __init__(self, prior: float, memory: float = 256.0) -> None:
        """`memory` is how many cases count."""
        self._mean = prior
        self._memory = memory
        self._cases = 0.0

    def add(self, happened: bool) -> None:
        # The mean of all cases at first, with the prior as the first of them.
        self._cases = min(self._memory, self._cases + 1.0)
        self._mean += (float(happened) - self._mean) / (self._cases + 1.0)

    @property
    def value(self) -> float:
        return self._mean


def wanted_chance(escalates: float, later_escalates: float, returns: float) -> float:
    """Chance that the next tier will be asked for a prefix.

    P = e + (1 - e) W, where W is the chance that one of the later requests escalates: each comes
    with chance r after the one before, so W = r p + r (1 - p) W, W = r p / (1 - r (1 - p)).

    Args:
        escalates: chance that this request does.
        later_escalates: p, chance that a later one does.
        returns: r, chance that there is another request with this prefix.
    """
    returns = min(returns, 1.0 - 1e-9)
    later = returns * later_escalates / (1.0 - returns * (1.0 - later_escalates))
    return escalates + (1.0 - escalates) * later


def is_worth_warming(probability: float, running: int) -> bool:
    """Whether a chunk's expected saving exceeds its expected waste.

    A chunk costs the next tier's worker its time c, and every request that decodes there waits for
    c. If the prefix is wanted, the same chunk would have been computed later, with the request
    itself waiting: c is saved for it, and nothing lost for the others. If not, all of it is lost.
    So P c > (1 - P) (1 + running) c.
    """
    return probability > (1.0 - probability) * (1 + running)
