"""Which of a tier's answers climb, so that a given share does while scores and traffic change.

An answer climbs where its score is among the lowest of the last ones. Two things keep the share:
the window is short, so it follows the traffic; and what climbed too often or too seldom so far is
made up for by the answers that follow, a little at a time.
"""

import bisect
import itertools
import math
from collections import deque
from collections.abc import Iterator, Sequence
from random import Random

# Chosen by simulation: `bench/calibration/share.py`.
WINDOW = 100  # scores that a new one is compared with
SETTLED_OVER = 60  # answers over which a debt is made up for
MOST_DEBT = 20.0  # answers; after an outage the share is not overdone for longer than this

_Key = tuple[float, float]


class RunningQuantile:
    """Owns the last scores of one tier, and the answers that it owes.

    Equal scores are told apart by a number drawn at random, so that the share holds for them too.
    """

    def __init__(self, rate: float, seeds: Sequence[float] = (), seed: int = 0) -> None:
        """`rate` is the share that climbs; `seeds` are scores expected of the first answers."""
        self.rate = rate
        self._random = Random(seed)
        self._window: deque[_Key] = deque()
        self._sorted: list[_Key] = []
        self._climbed: deque[bool] = deque(maxlen=WINDOW)
        self._debt = 0.0  # answers that should have climbed and did not
        self.reseed(seeds)

    def reseed(self, scores: Sequence[float]) -> None:
        """Forget the window for these scores, the last `WINDOW` of them; the debt stays."""
        self._window.clear()
        self._sorted.clear()
        for score in scores[-WINDOW:]:
            self._add(score)

    @property
    def recent_rate(self) -> float | None:
        """Share of the last `WINDOW` answers that climbed; None before the first."""
        return sum(self._climbed) / len(self._climbed) if self._climbed else None

    @property
    def threshold(self) -> float:
        """The score below which answers climb now, from 0 to 1.

        Before the first score: the rate, as if scores were spread evenly.
        """
        lowest = math.ceil(self._target_rank())
        if not self._sorted:
            return self.rate
        if lowest == 0:
            return 0.0
        return self._sorted[lowest - 1][0] if lowest <= len(self._sorted) else 1.0

    def threshold_for(self, score: float) -> float:
        """The threshold for one answer: it climbs where its score is below.

        Against n scores of the same traffic its chance to climb is the rate, whatever n is.
        """
        target_rank = self._target_rank()
        whole = int(target_rank)
        lowest = whole + (self._random.random() < target_rank - whole)
        if lowest == 0:
            return -math.inf
        if lowest > len(self._sorted):
            return math.inf
        cut = self._sorted[lowest - 1]
        climbs = (score, self._random.random()) < cut
        if score == cut[0] and climbs:
            return math.nextafter(score, math.inf)
        return cut[0]

    def note(self, score: float | None, climbed: bool) -> None:
        """Take in what became of an answer.

        Args:
            score: None for an answer that was ended early. It stands for one of the scores below
                the threshold.
        """
        if score is None:
            below = max(1, math.ceil(self._target_rank()))
            lowest_scores = self._sorted[:below]
            score = self._random.choice(lowest_scores)[0] if lowest_scores else None
        if score is not None:
            self._add(score)
        self._climbed.append(climbed)
        debt = self._debt + self.rate - climbed
        self._debt = min(max(debt, -MOST_DEBT), MOST_DEBT)

    def _target_rank(self) -> float:
        """How many of the sorted scores, and of the next one, are to be below the threshold."""
        rate = min(max(self.rate + self._debt / SETTLED_OVER, 0.0), 1.0)
        return rate * (len(self._sorted) + 1)

    def _add(self, score: float) -> None:
        key = (score, self._random.random())
        if len(self._window) == WINDOW:
            del self._sorted[bisect.bisect_left(self._sorted, self._window.popleft())]
        self._window.append(key)
        bisect.insort(self._sorted, key)


def spread(quantiles: Sequence[float], count: int) -> list[float]:
    """As many scores, distributed as these quantiles at evenly spaced probabilities say.

    They are in an order in which any run of them is spread over the whole range.
    """
    last = len(quantiles) - 1
    scores = []
    for probability in itertools.islice(_van_der_corput(), count):
        low = min(int(probability * last), last - 1)
        part = probability * last - low
        scores.append(quantiles[low] * (1 - part) + quantiles[low + 1] * part)
    return scores


def _van_der_corput() -> Iterator[float]:
    """0.5, 0.25, 0.75, 0.125, ...: between 0 and 1, evenly spread however many are taken."""

    def mirrored(number: int) -> float:
        digits = f"{number:b}"[::-1]
        return int(digits, 2) / float(1 << len(digits))

    return map(mirrored, itertools.count(1))
