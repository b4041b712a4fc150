"""A profile file: step times of a tier on a device, and the capacity of its engine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from cascadia_sglang.files.struct_file import load_struct

DEFAULT_PREFILL_TOKENS = 16384


class StepTimes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Durations of one tier's batch steps on one whole device.

    The lists are pairs of a size and milliseconds, sizes rising: `decode_ms` by the rows of a
    batch, `prefill_ms` by its new tokens. What a step's context adds is linear.

    Attributes:
        decode_context_us: microseconds a token of context, of all rows together.
        prefill_row_ms: for every prompt of a batch after the first.
        prefill_context_ns: nanoseconds a pair of a new token and a token that was there before it.
    """

    decode_ms: list[tuple[int, float]]
    prefill_ms: list[tuple[int, float]]
    decode_context_us: float = 0.0
    prefill_row_ms: float = 0.0
    prefill_context_ns: float = 0.0

    def __post_init__(self) -> None:
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
        """Seconds of one decoding step of this many requests, with this context together."""
        return _between(self.decode_ms, rows) / 1000 + self.decode_context_us * context_tokens / 1e6

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
    """What one worker holds and admits, as SGLang's flags and its start have settled it.

    Attributes:
        kv_tokens: of its KV cache (`max_total_num_tokens`).
        chunked_prefill_tokens: null where prompts are not cut.
        new_token_ratio: where the estimate of what running requests still need begins
            (SGLANG_INIT_NEW_TOKEN_RATIO times `schedule_conservativeness`).
        is_blocking: whether the scheduler's thread computes the forwards itself, as on a CPU.
    """

    kv_tokens: int
    max_running_requests: int
    chunked_prefill_tokens: int | None = None
    max_prefill_tokens: int = DEFAULT_PREFILL_TOKENS
    new_token_ratio: float = 0.7
    is_blocking: bool = False

    def __post_init__(self) -> None:
        sizes = (self.kv_tokens, self.max_running_requests, self.max_prefill_tokens)
        if min(*sizes, self.chunked_prefill_tokens or 1) < 1:
            raise ValueError("kv_tokens, max_running_requests and prefill sizes need 1 or more")
        if not 0 < self.new_token_ratio <= 1:
            raise ValueError(f"new_token_ratio is {self.new_token_ratio}, allowed: above 0, to 1")


class HostTimes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The process in front of the workers, and the machine.

    Attributes:
        receive_ms, respond_ms: the front's work on a request before its first and after its last
            attempt; one request at a time.
        escalate_ms: its work between two attempts.
        wire_ms: from a worker's last step to the front, through the detokenizer; takes no core.
        shared_cores: that front and workers share; 0 where each has a device of its own.
        step_ms: a worker's own work on a decoding step beside its device, median. Measured step
            times hold it already; a roofline takes it as its floor.
    """

    receive_ms: float = 0.0
    respond_ms: float = 0.0
    escalate_ms: float = 0.0
    wire_ms: float = 0.0
    shared_cores: float = 0.0
    step_ms: float = 0.0

    def __post_init__(self) -> None:
        if not all(0 <= getattr(self, name) < float("inf") for name in self.__struct_fields__):
            raise ValueError("host times and cores need to be finite, 0 or more")


class FitError(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far fitted step times are from measured ones that the fit has not seen, relative."""

    steps: int
    median: float
    p95: float
    bias: float


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A profile file: by tier name the step times and, where known, limits and the fits' errors.

    Attributes:
        device: the machine and the share of it that a worker had.
        source: `measured`, or `roofline` where no device was there to measure.
    """

    version: int
    device: str
    tiers: dict[str, StepTimes]
    source: Literal["measured", "roofline"] = "measured"
    limits: dict[str, EngineLimits] = {}
    host: HostTimes = HostTimes()
    decode_error: dict[str, FitError] = {}
    prefill_error: dict[str, FitError] = {}

    def __post_init__(self) -> None:
        if self.version != 1:
            raise ValueError(f"version is {self.version}, allowed: 1")


def load_profile(path: Path) -> Profile:
    """Read a profile file.

    Raises:
        ConfigError: if the file is missing or does not fit; names the file and the place.
    """
    return load_struct(path, Profile, "profile")
