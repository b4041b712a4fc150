"""Latency targets of a request."""

import msgspec


class Slo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Latency targets of a request in milliseconds; null asks nothing.

    TPOT is (E2E - TTFT) / (tokens - 1), 0 for one token.
    """

    ttft_ms: float | None = None
    tpot_ms: float | None = None
    e2e_ms: float | None = None
