"""How fast a pool's workers compute, from the counters that SGLang's schedulers publish.

No profile is needed: every scheduler counts the tokens it prefilled and the seconds that took, and
the moments of its decode steps (`LoadSnapshot`). Workers of a pool are alike, so they are counted
together.
"""

from dataclasses import dataclass

_MICRO = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedLoad:
    """What a worker's scheduler last published of itself.

    Attributes:
        at_s: when, by `time.time()`.
        running, waiting: requests.
        waiting_tokens: of the waiting requests' prompts, those that are not cached.
        max_running: requests that may run at once.
        prefilled_tokens, prefill_us: computed so far, and the time that took.
        decode_moments: over the decode steps so far their number and the sums of b, t, b*b, b*t
            and g, where b is a step's batch, t its microseconds and g the tokens that it gave.
        used_tokens, total_tokens: of the KV pool.
    """

    at_s: float
    running: int
    waiting: int
    waiting_tokens: int
    max_running: int
    prefilled_tokens: int
    prefill_us: int
    decode_moments: tuple[float, ...] = (0.0,) * 6
    used_tokens: int = 0
    total_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Of one worker: seconds per prefilled token, and of a decode step with so many requests.

    Attributes:
        tokens_per_step: that a decode step gives a request; above 1 with speculative decoding.
    """

    prefill_s: float
    step_s: float
    step_s_per_request: float
    tokens_per_step: float = 1.0

    def token_s(self, batch: float) -> float:
        """Seconds per token of each request, where so many decode together."""
        return (self.step_s + self.step_s_per_request * batch) / self.tokens_per_step


class SpeedMeter:
    """The speed of one pool's workers, learned from their loads as these are read."""

    def __init__(self) -> None:
        self._loads: dict[str, PublishedLoad] = {}
        # Sums of x*x and x*t over what was prefilled between two reads, x tokens in t seconds: the
        # line through the origin, in which long prompts weigh most. They are what caching saves;
        # of short ones most is the fixed cost of a step.
        self._squares = 0.0
        self._products = 0.0
        self._moments = [0.0] * 6

    def observe(self, worker_id: str, load: PublishedLoad) -> None:
        """Take in a worker's load; one that was seen before changes nothing."""
        before = self._loads.get(worker_id)
        self._loads[worker_id] = load
        tokens, micros = load.prefilled_tokens, load.prefill_us
        moments = load.decode_moments
        if before is not None and before.prefilled_tokens <= tokens:
            tokens -= before.prefilled_tokens
            micros -= before.prefill_us
            moments_before = before.decode_moments
            for index in range(6):
                self._moments[index] += max(0.0, moments[index] - moments_before[index])
        else:
            for index in range(6):
                self._moments[index] += moments[index]
        if tokens > 0 and micros > 0:
            self._squares += float(tokens) * tokens
            self._products += float(tokens) * micros * _MICRO

    def forget(self, worker_id: str) -> None:
        """Drop a worker that is gone; what it taught stays."""
        self._loads.pop(worker_id, None)

    def tokens_per_step(self) -> float | None:
        """Mean number of tokens that a decode step gave a request; None before a step was seen."""
        batches, generated = self._moments[1], self._moments[5]
        return generated / batches if batches > 0 else None

    def speed(self) -> Speed | None:
        """None before anything was prefilled. A decode step counts 0 s until one was seen."""
        if self._squares <= 0.0:
            return None
        steps, batches, micros, squares, products, _ = self._moments
        base = slope = 0.0
        if steps > 0:
            spread = squares - batches * batches / steps
            if spread > 1e-9 * squares:
                slope = max(0.0, (products - batches * micros / steps) / spread)
            base = max(0.0, (micros - slope * batches) / steps)
        return Speed(
            prefill_s=self._products / self._squares,
            step_s=base * _MICRO,
            step_s_per_request=slope * _MICRO,
            tokens_per_step=self.tokens_per_step() or 1.0,
        )
