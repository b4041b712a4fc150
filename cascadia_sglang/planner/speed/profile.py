"""A profile file: step times of a tier on a device, and the capacity of its engine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from cascadia_sglang.files.struct_file import load_struct

DEFAULT_PREFILL_TOKENS = 16384


class StepTimes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Durations of a tier's batch steps on a whole device.

    A step takes the time of its size, plus terms that are linear in its context. Without
    speculative decoding, a request has one row in a decode step and gets one token from it.
    """

    decode_ms: list[tuple[int, float]]
    """Pairs of a number of rows and the milliseconds of a decode step. Sizes rise."""
    prefill_ms: list[tuple[int, float]]
    """Pairs of a number of new tokens and the milliseconds of a prefill. Sizes rise."""
    decode_context_us: float = 0.0
    """Microseconds of a decode step per token of context, over all requests of the batch."""
    prefill_row_ms: float = 0.0
    """Milliseconds of a prefill per prompt after the first."""
    prefill_context_ns: float = 0.0
    """Nanoseconds of a prefill per pair of a new token and a token before it."""
    draft_rows: int = 1
    """Rows of a request in a decode step: tokens that a speculative step verifies."""
    tokens_per_step: float = 1.0
    """Mean number of tokens that a decode step gives a request."""

    def __post_init__(self) -> None:
        if not 1 <= self.tokens_per_step <= self.draft_rows:
            raise ValueError(
                f"tokens_per_step is {self.tokens_per_step}, allowed: 1 to draft_rows, "
                f"{self.draft_rows}"
            )
        for name, pairs in (("decode_ms", self.decode_ms), ("prefill_ms", self.prefill_ms)):
            sizes = [size for size, _ in pairs]
            if not pairs or sizes != sorted(set(sizes)) or sizes[0] < 1:
                raise ValueError(f"{name} needs rising sizes of 1 or more, at least one")
            if any(not 0 < ms < float("inf") for _, ms in pairs):
                raise ValueError(f"{name} needs finite times above 0")
        for name in ("decode_context_us", "prefill_row_ms", "prefill_context_ns"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name} is {value}, allowed: finite, 0 or more")

    def decode_s(self, rows: int, context_tokens: int = 0) -> float:
        """Seconds of one decoding step of this many rows, with this context together."""
        return _between(self.decode_ms, rows) / 1000 + self.decode_context_us * context_tokens / 1e6

    @property
    def token_ms(self) -> list[tuple[float, float]]:
        """Milliseconds of a token by the requests that decode, where `decode_ms` is of rows."""
        return [(rows / self.draft_rows, ms / self.tokens_per_step) for rows, ms in self.decode_ms]

    def prefill_s(self, tokens: int, prompts: int = 1, context_pairs: float = 0.0) -> float:
        """Seconds of one prefill of this many new tokens.

        Args:
            prompts: that they belong to.
            context_pairs: new tokens times the tokens before them, summed over the prompts.
        """
        more = (
            self.prefill_row_ms * (prompts - 1) / 1e3
            + self.prefill_context_ns * context_pairs / 1e9
        )
        return _between(self.prefill_ms, tokens) / 1000 + more


def _between(pairs: Sequence[tuple[int, float]], size: int) -> float:
    """Linear between the measured sizes, level below them, in proportion to the last above."""
    sizes, times = zip(*pairs, strict=True)
    if size > sizes[-1]:
        return float(times[-1]) * size / float(sizes[-1])
    return float(np.interp(size, sizes, times))


class EngineLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of a worker, from SGLang's flags and the worker's start."""

    kv_tokens: int
    """Tokens of the KV cache (`max_total_num_tokens`)."""
    max_running_requests: int
    """Most requests of a batch."""
    chunked_prefill_tokens: int | None = None
    """Most new tokens of a prefill chunk. null: prompts are not cut into chunks."""
    max_prefill_tokens: int = DEFAULT_PREFILL_TOKENS
    """Most new tokens of a prefill without chunks."""
    new_token_ratio: float = 0.7
    """First estimate of the share of their token limit that running requests will use.

    It is SGLANG_INIT_NEW_TOKEN_RATIO times `schedule_conservativeness`.
    """
    is_blocking: bool = False
    """Whether the scheduler waits for each forward pass, as on a CPU."""

    def __post_init__(self) -> None:
        sizes = (self.kv_tokens, self.max_running_requests, self.max_prefill_tokens)
        if min(*sizes, self.chunked_prefill_tokens or 1) < 1:
            raise ValueError("kv_tokens, max_running_requests and prefill sizes need 1 or more")
        if not 0 < self.new_token_ratio <= 1:
            raise ValueError(f"new_token_ratio is {self.new_token_ratio}, allowed: above 0, to 1")


class HostTimes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times of the main process and of the host."""

    receive_ms: float = 0.0
    """Milliseconds of the main process per request, before its first attempt."""
    respond_ms: float = 0.0
    """Milliseconds of the main process per request, after its last attempt."""
    escalate_ms: float = 0.0
    """Milliseconds of the main process between two attempts."""
    wire_ms: float = 0.0
    """Milliseconds from a worker's last step to the main process. They use no core."""
    shared_cores: float = 0.0
    """Cores that the main process and the workers share. 0: each worker has a device of its own."""
    step_ms: float = 0.0
    """Milliseconds that a worker needs per decode step beside its device (median).

    Measured step times contain it. A roofline takes it as the least time of a step.
    """

    def __post_init__(self) -> None:
        if not all(0 <= getattr(self, name) < float("inf") for name in self.__struct_fields__):
            raise ValueError("host times and cores need to be finite, 0 or more")


class FitError(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Relative error of fitted step times, on the fifth of the steps that the fit left out."""

    steps: int
    """Measured steps, with those left out."""
    median: float
    """Median of the absolute errors."""
    p95: float
    """95th percentile of the absolute errors."""
    bias: float
    """Median of the errors with their sign. Above 0: the fit is too slow."""


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A profile file: step times of every tier."""

    version: int
    """Version of the file's form. Only 1 is allowed."""
    device: str
    """The machine, and the share of it that a worker had."""
    tiers: dict[str, StepTimes]
    """Step times by the tier's name."""
    source: Literal["measured", "roofline"] = "measured"
    """Where the step times come from."""
    limits: dict[str, EngineLimits] = {}
    """Limits of a worker by the tier's name. A simulation needs them."""
    host: HostTimes = HostTimes()
    """Times of the main process and of the host."""
    decode_error: dict[str, FitError] = {}
    """Error of the fitted decode steps by the tier's name."""
    prefill_error: dict[str, FitError] = {}
    """Error of the fitted prefills by the tier's name."""

    def __post_init__(self) -> None:
        if self.version != 1:
            raise ValueError(f"version is {self.version}, allowed: 1")


def load_profile(path: Path) -> Profile:
    """Read a profile file.

    Raises:
        ConfigError: if the file is missing or does not fit; names the file and the place.
    """
    return load_struct(path, Profile, "profile")
