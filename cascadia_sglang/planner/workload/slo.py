"""Latency targets of a request."""

import msgspec

from cascadia_sglang.value_ranges import Positive, Share


class Slo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Latency targets of a request in milliseconds. null sets no target."""

    ttft_ms: Positive | None = None
    """Time to the first token."""
    tpot_ms: Positive | None = None
    """Time per further token: (E2E - TTFT) / (tokens - 1), 0 for one token."""
    e2e_ms: Positive | None = None
    """Time to the whole answer."""
    attainment: Share = 0.95
    """Least share of requests that meet every target."""

    @property
    def has_targets(self) -> bool:
        """Whether there is any target."""
        return (self.ttft_ms, self.tpot_ms, self.e2e_ms) != (None, None, None)
