"""What the replicas have to do: when requests come, how long they are, what prefixes they share.

Shape legend: R requests in order of arrival, P prefix blocks of all of them together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cascadia_sglang.errors import WorkloadError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Tokens of a prefix block in the Mooncake traces.
MOONCAKE_BLOCK_TOKENS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Requests of a trace or a window.

    Attributes:
        arrival_s_R: seconds since the first arrival, rising.
        input_tokens_R: of the prompt, at least 1.
        output_tokens_R: generated, at least 1.
        block_starts_R: [R + 1]; prefix blocks of request r are `blocks_P[starts[r]:starts[r + 1]]`.
        blocks_P: numbers from 0; equal ones are equal prefixes up to and including the block.
        block_tokens: of every block.
    """

    arrival_s_R: Floats
    input_tokens_R: Ints
    output_tokens_R: Ints
    block_starts_R: Ints
    blocks_P: Ints
    block_tokens: int

    def __len__(self) -> int:
        return len(self.arrival_s_R)

    @property
    def rate_per_s(self) -> float:
        """Mean arrival rate: gaps between arrivals over the time they take."""
        return (len(self) - 1) / float(self.arrival_s_R[-1])

    def at_rate(self, rate_per_s: float) -> "Workload":
        """The same requests in the same order and burstiness, at another mean rate.

        Raises:
            WorkloadError: unless the rate is finite and above 0.
        """
        if not 0.0 < rate_per_s < float("inf"):
            raise WorkloadError(f"the rate is {rate_per_s} requests/s, allowed: finite, above 0")
        scale = self.rate_per_s / rate_per_s
        return replace(self, arrival_s_R=self.arrival_s_R * scale)

    def part(self, start: int, end: int) -> "Workload":
        """Requests [start, end) alone.

        Raises:
            WorkloadError: for fewer than two requests.
        """
        return self.chosen(np.arange(len(self))[start:end])

    def count_within(self, requests: int, output_tokens: int) -> int:
        """So many requests, or as many as write so many tokens; a simulation's steps grow with
        these. Not below 200, of which a p95 can still be told."""
        return max(200, min(requests, int(output_tokens / float(self.output_tokens_R.mean()))))

    def thinned(self, count: int, seed: int = 0) -> "Workload":
        """So many of the requests, drawn at random and in their order: what one of many replicas
        sees of them, its bursts and its prefixes included. All, where there are no more."""
        if count >= len(self):
            return self
        drawn = np.random.default_rng(seed).choice(len(self), count, replace=False)
        return self.chosen(np.sort(drawn))

    def chosen(self, rows: Ints) -> "Workload":
        """Some of the requests alone, by index.

        Raises:
            WorkloadError: for fewer than two requests.
        """
        hash_ids = [
            self.blocks_P[self.block_starts_R[r] : self.block_starts_R[r + 1]].tolist()
            for r in rows.tolist()
        ]
        return build_workload(
            self.arrival_s_R[rows],
            self.input_tokens_R[rows],
            self.output_tokens_R[rows],
            hash_ids=hash_ids,
            block_tokens=self.block_tokens,
        )


def build_workload(
    arrival_s_R: npt.ArrayLike,
    input_tokens_R: npt.ArrayLike,
    output_tokens_R: npt.ArrayLike,
    *,
    hash_ids: Sequence[Sequence[int]] = (),
    block_tokens: int = MOONCAKE_BLOCK_TOKENS,
) -> Workload:
    """Check, sort by arrival and number the prefix blocks; times are made to begin at 0.

    Args:
        hash_ids: a list of prefix block ids a request, or none for no known reuse.

    Raises:
        WorkloadError: if there are fewer than two requests, no time passes between them, a time is
            not finite or a length is below 1; the line names the first such request.
    """
    arrival = np.asarray(arrival_s_R, np.float64)
    lengths = [np.asarray(x, np.float64) for x in (input_tokens_R, output_tokens_R)]
    count = len(arrival)
    if count < 2:
        raise WorkloadError(f"the workload has {count} requests, a rate needs 2 or more")
    if any(len(values) != count for values in lengths) or len(hash_ids) not in (0, count):
        raise WorkloadError("times, lengths and hash ids differ in number")
    for name, values in zip(("input_tokens", "output_tokens"), lengths, strict=True):
        bad = np.flatnonzero(~(np.isfinite(values) & (values >= 1)))
        if len(bad):
            raise WorkloadError(f"request {bad[0]}: {name} is {values[bad[0]]:g}, allowed: from 1")
    bad = np.flatnonzero(~np.isfinite(arrival))
    if len(bad):
        raise WorkloadError(f"request {bad[0]}: the timestamp is {arrival[bad[0]]}")
    order = np.argsort(arrival, kind="stable")
    arrival = arrival[order] - arrival[order[0]]
    if arrival[-1] <= 0.0:
        raise WorkloadError("all requests come at the same time, a rate needs time between them")
    ids = [list(hash_ids[index]) for index in order] if len(hash_ids) else [[]] * count
    starts = np.concatenate([[0], np.cumsum([len(own) for own in ids])]).astype(np.int64)
    flat = np.array([block for own in ids for block in own], np.int64)
    return Workload(
        arrival_s_R=arrival,
        input_tokens_R=lengths[0][order].astype(np.int64),
        output_tokens_R=lengths[1][order].astype(np.int64),
        block_starts_R=starts,
        blocks_P=np.unique(flat, return_inverse=True)[1].astype(np.int64).reshape(-1),
        block_tokens=block_tokens,
    )


def poisson_arrivals_s(rate_per_s: float, count: int, seed: int) -> Floats:
    """Arrival times of a Poisson process, the first at 0.

    Raises:
        WorkloadError: unless the rate is finite and above 0.
    """
    if not 0.0 < rate_per_s < float("inf"):
        raise WorkloadError(f"the rate is {rate_per_s} requests/s, allowed: finite, above 0")
    gaps_s = np.random.default_rng(seed).exponential(1.0 / rate_per_s, max(0, count - 1))
    return np.concatenate([[0.0], np.cumsum(gaps_s)])
