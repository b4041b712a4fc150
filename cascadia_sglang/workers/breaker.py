"""When a pool of workers is tried again after faults, and when it is not tried for a while."""

from collections import deque

FIRST_DELAY_S = 0.05
LONGEST_DELAY_S = 30.0
WINDOW_S = 60.0
FAULTS_TO_TRIP = 5
OPEN_S = 30.0


class Breaker:
    """Counts the faults of one pool. Times are of one monotonic clock, in seconds.

    A fault is a worker that died, hung, could not start, or answered with an internal error.
    What the client did wrong and back-pressure (429, 503) are not told to it. Five faults within a
    minute open it; half a minute later it is on trial for a minute, in which one fault opens it
    again. An answer of a worker that came back closes it and ends the trial.
    """

    def __init__(self) -> None:
        self._faults: deque[float] = deque()
        self._streak = 0
        self._opened: float | None = None

    def fault(self, now: float) -> float:
        """Count a fault; the delay after which a lost worker is started again."""
        if self._faults and now - self._faults[-1] > WINDOW_S:
            self._streak = 0
        self._streak += 1
        self._faults.append(now)
        while now - self._faults[0] > WINDOW_S:
            self._faults.popleft()
        if len(self._faults) >= FAULTS_TO_TRIP or self._is_on_trial(now):
            self._opened = now
        # Beyond ten doublings the longest delay holds anyway.
        delay_s = FIRST_DELAY_S * 2.0 ** min(self._streak - 1, 10)
        return min(LONGEST_DELAY_S, delay_s)

    def answered(self, started: float) -> None:
        """Note an answer of a worker that was started then."""
        if self._opened is not None and self._faults and started > self._faults[-1]:
            self._opened = None
            self._faults.clear()
            self._streak = 0

    def forgive(self, at: float) -> None:
        """Count the fault of that time no longer: one request was the cause, and is named."""
        if at not in self._faults:
            return
        self._faults.remove(at)
        self._streak = max(0, self._streak - 1)
        if self._opened is not None and at <= self._opened and len(self._faults) < FAULTS_TO_TRIP:
            self._opened = None

    def is_open(self, now: float) -> bool:
        """Whether the pool is to be passed over."""
        return self._opened is not None and now - self._opened < OPEN_S

    def _is_on_trial(self, now: float) -> bool:
        return self._opened is not None and now - self._opened < OPEN_S + WINDOW_S
