"""How many tokens a speculative step verifies: those that gain most at the present load. Pure.

A wider window accepts more tokens in a step and takes longer. How much longer depends on the rows
that run with it: a device that is idle verifies eight tokens in the time of one, a busy one does
not. So a step's time is learned for every window and size of batch; and how often a proposed token
is right, by its position, where those before it are.
"""

from collections.abc import Sequence

# Of the steps, one of so many tries another window: what is right at one load is not at another.
EXPLORE = 32
# How much the last step counts.
_FADE = 0.1
# How often a proposed token is right before any was seen at its position.
_PRIOR = 0.7


class VerifyWindows:
    """Chooses the window of each step of one worker, and learns from the steps before."""

    def __init__(self, most: int) -> None:
        """`most` tokens are verified at most, with the last one of the output, which is right."""
        powers = [1 << power for power in range(most.bit_length())]
        self.windows: Sequence[int] = sorted({*(w for w in powers if w < most), most})
        self._seconds: dict[tuple[int, int], float] = {}
        self._right = [1.0, *[_PRIOR] * (most - 1)]
        self._steps = 0
        self._explored = 0

    def choose(self, requests: int) -> int:
        """The window of a step with so many requests."""
        size = requests.bit_length()
        for window in reversed(self.windows):
            if (size, window) not in self._seconds:
                return window
        self._steps += 1
        if self._steps % EXPLORE == 0:
            self._explored += 1
            return self.windows[self._explored % len(self.windows)]
        return max(self.windows, key=lambda w: self._tokens(w) / self._seconds[size, w])

    def observe(self, window: int, seconds: float, accepted: Sequence[int]) -> None:
        """Learn from a step.

        Args:
            accepted: tokens of each of its requests, the model's own among them.
        """
        key = (len(accepted).bit_length(), window)
        self._seconds[key] = _faded(self._seconds.get(key, seconds), seconds)
        for position in range(1, window):
            # So many drafts were accepted up to this position, and so many at it.
            reached = sum(count >= position for count in accepted)
            right = sum(count > position for count in accepted)
            if reached:
                self._right[position] = _faded(self._right[position], right / reached)

    def _tokens(self, window: int) -> float:
        """That a step is expected to give a request."""
        expected, chance = 0.0, 1.0
        for right in self._right[:window]:
            chance *= right
            expected += chance
        return expected


def _faded(before: float, value: float) -> float:
    return before + _FADE * (value - before)
