"""A workload: arrival times, lengths and shared prefixes of requests.

Shape legend: R requests in order of arrival, P prefix blocks of all of them together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cascadia_sglang.arrays import FloatArray, IntArray
from cascadia_sglang.errors import WorkloadError

# Tokens of a prefix block in the Mooncake traces.
MOONCAKE_BLOCK_TOKENS = 512
# Of a prompt or an answer. More is a slip of the pen, and would not fit the simulator's integers.
MOST_TOKENS = 10**9


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

    arrival_s_R: FloatArray
    input_tokens_R: IntArray
    output_tokens_R: IntArray
    block_starts_R: IntArray
    blocks_P: IntArray
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

    def with_prompts(self, length: float) -> "Workload":
        """The same requests with prompts, and prefix blocks, of another tokenizer's tokens.

        Args:
            length: tokens of a prompt there, relative to here.
        """
        if length == 1.0:
            return self
        return replace(
            self,
            input_tokens_R=scaled_tokens(self.input_tokens_R, length),
            block_tokens=max(1, round(length * self.block_tokens)),
        )

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

    def chosen(self, rows: IntArray) -> "Workload":
        """Some of the requests alone, by index.

        Raises:
            WorkloadError: for fewer than two requests.
        """
        counts_R = np.diff(self.block_starts_R)[rows]
        places_P = _spread(self.block_starts_R[rows], counts_R)
        return workload_of_blocks(
            self.arrival_s_R[rows],
            self.input_tokens_R[rows],
            self.output_tokens_R[rows],
            counts_R,
            self.blocks_P[places_P],
            self.block_tokens,
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
            not finite or a length is not from 1 to `MOST_TOKENS`; the line names the first such
            request.
    """
    count = len(np.asarray(arrival_s_R))
    if len(hash_ids) not in (0, count):
        raise WorkloadError("times, lengths and hash ids differ in number")
    # Ids may be wider than an integer of NumPy.
    numbers: dict[int, int] = {}
    blocks = [
        numbers.setdefault(block, len(numbers))
        for request_blocks in hash_ids
        for block in request_blocks
    ]
    counts = (
        [len(request_blocks) for request_blocks in hash_ids] if len(hash_ids) else np.zeros(count)
    )
    return workload_of_blocks(
        arrival_s_R, input_tokens_R, output_tokens_R, counts, blocks, block_tokens
    )


def workload_of_blocks(
    arrival_s_R: npt.ArrayLike,
    input_tokens_R: npt.ArrayLike,
    output_tokens_R: npt.ArrayLike,
    block_counts_R: npt.ArrayLike,
    blocks_P: npt.ArrayLike,
    block_tokens: int,
) -> Workload:
    """As `build_workload` does, of blocks that have a number already.

    Args:
        block_counts_R: prefix blocks of each request.
        blocks_P: numbers of all requests' blocks, one request after the other; they are numbered
            anew, in the order of arrival.

    Raises:
        WorkloadError: as `build_workload` does.
    """
    arrival = np.asarray(arrival_s_R, np.float64)
    inputs, outputs = (
        _lengths(values, name, len(arrival))
        for name, values in (("input_tokens", input_tokens_R), ("output_tokens", output_tokens_R))
    )
    if len(arrival) < 2:
        raise WorkloadError(f"the workload has {len(arrival)} requests, a rate needs 2 or more")
    bad = np.flatnonzero(~np.isfinite(arrival))
    if len(bad):
        raise WorkloadError(f"request {bad[0]}: the timestamp is {arrival[bad[0]]}")
    counts, blocks = np.asarray(block_counts_R, np.int64), np.asarray(blocks_P, np.int64)
    if (np.diff(arrival) < 0).any():
        order = np.argsort(arrival, kind="stable")
        starts = np.cumsum(counts) - counts
        arrival, inputs, outputs = arrival[order], inputs[order], outputs[order]
        counts, blocks = counts[order], blocks[_spread(starts[order], counts[order])]
    arrival = arrival - arrival[0]
    if arrival[-1] <= 0.0:
        raise WorkloadError("all requests come at the same time, a rate needs time between them")
    return Workload(
        arrival_s_R=arrival,
        input_tokens_R=inputs,
        output_tokens_R=outputs,
        block_starts_R=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        blocks_P=_renumbered(blocks),
        block_tokens=block_tokens,
    )


def scaled_tokens(tokens: IntArray, length: float) -> IntArray:
    """Tokens of the same texts where they are so many times as many; at least one each."""
    scaled: IntArray = np.clip(np.rint(length * tokens), 1, MOST_TOKENS).astype(np.int64)
    return scaled


def _lengths(values: npt.ArrayLike, name: str, count: int) -> IntArray:
    lengths = np.asarray(values)
    if len(lengths) != count:
        raise WorkloadError("times, lengths and hash ids differ in number")
    bad = np.flatnonzero(~((lengths >= 1) & (lengths <= MOST_TOKENS)))
    if len(bad):
        raise WorkloadError(
            f"request {bad[0]}: {name} is {lengths[bad[0]]:g}, allowed: 1 to {MOST_TOKENS}"
        )
    return lengths.astype(np.int64, copy=False)


def _renumbered(blocks_P: IntArray) -> IntArray:
    """Numbers from 0, in the order in which they first appear."""
    _, first, inverse_P = np.unique(blocks_P, return_index=True, return_inverse=True)
    numbers = np.empty(len(first), np.int64)
    numbers[np.argsort(first)] = np.arange(len(first))
    renumbered_P: IntArray = numbers[inverse_P.reshape(-1)]
    return renumbered_P


def _spread(starts_R: IntArray, counts_R: IntArray) -> IntArray:
    """Places [start, start + count) of every request, one after the other."""
    before_R = np.cumsum(counts_R) - counts_R
    places: IntArray = np.repeat(starts_R - before_R, counts_R) + np.arange(int(counts_R.sum()))
    return places


def poisson_arrivals_s(rate_per_s: float, count: int, seed: int) -> FloatArray:
    """Arrival times of a Poisson process, the first at 0.

    Raises:
        WorkloadError: unless the rate is finite and above 0.
    """
    if not 0.0 < rate_per_s < float("inf"):
        raise WorkloadError(f"the rate is {rate_per_s} requests/s, allowed: finite, above 0")
    gaps_s = np.random.default_rng(seed).exponential(1.0 / rate_per_s, max(0, count - 1))
    return np.concatenate([[0.0], np.cumsum(gaps_s)])
