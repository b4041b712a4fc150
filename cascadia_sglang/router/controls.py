"""A client's controls of one request: the `x-cascadia-*` headers, `model` and `prediction`."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cascadia_sglang.config.routing_settings import KEEP_ALIVE_ALLOWED, is_keep_alive_s
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.errors import RequestError

PREFIX = "x-cascadia-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """A request's wishes; None leaves the cascade's own setting.

    Attributes:
        tier: index of the one tier that answers, without a judge's decision.
        max_tier: index of the highest tier, which answers as the last one.
        threshold: used for every tier.
        deadline_s: tightens the cascade's deadline.
        stream: when a streamed answer leaves, see `routing.stream`.
        allow_degraded: whether the best finished answer may go out when time or tiers run out.
        keep_alive_s: see `routing.keep_alive_s`.
        prediction: the answer that the client expects, a draft for the first tier.
    """

    tier: int | None = None
    max_tier: int | None = None
    threshold: float | None = None
    deadline_s: float | None = None
    stream: str | None = None
    allow_degraded: bool | None = None
    keep_alive_s: float | None = None
    prediction: str | None = None

    @property
    def is_own_way(self) -> bool:
        """Whether the cascade's own thresholds decide on the answer."""
        return self.tier is None and self.threshold is None


def parse_controls(headers: Mapping[str, str], config: CascadeConfig) -> Controls:
    """Read the headers of a request; names are lower case.

    Raises:
        RequestError: 400 for a malformed or unknown control; names the header and what is allowed.
    """
    tiers = {tier.name: index for index, tier in enumerate(config.tiers)}
    names = ", ".join(tiers)

    def chosen(
        header: str, allowed: str, read: Callable[[str], float | int | None]
    ) -> float | None:
        text = headers.get(header)
        if text is None:
            return None
        value = read(text.strip())
        if value is None:
            raise RequestError(400, f"header {header} is {text!r}, allowed: {allowed}", header)
        return value

    for header in headers:
        if header.startswith(PREFIX) and header not in _KNOWN:
            raise RequestError(
                400, f"header {header} is unknown, allowed: {', '.join(_KNOWN)}", header
            )
    tier = chosen("x-cascadia-tier", names, tiers.get)
    max_tier = chosen("x-cascadia-max-tier", names, tiers.get)
    threshold = chosen("x-cascadia-threshold", "a number from 0 to 1", _probability)
    deadline_ms = chosen("x-cascadia-deadline-ms", "a number above 0", _positive)
    degraded = chosen("x-cascadia-allow-degraded", "true, false", _FLAGS.get)
    keep_alive_s = chosen("x-cascadia-keep-alive", KEEP_ALIVE_ALLOWED, _keep_alive_s)
    stream = chosen("x-cascadia-stream", ", ".join(_STREAMS), _stream_number)
    return Controls(
        tier=None if tier is None else int(tier),
        max_tier=None if max_tier is None else int(max_tier),
        threshold=threshold,
        deadline_s=None if deadline_ms is None else deadline_ms / 1000.0,
        stream=None if stream is None else _STREAMS[int(stream)],
        allow_degraded=None if degraded is None else bool(degraded),
        keep_alive_s=None if keep_alive_s is None else float(keep_alive_s),
    )


def stream_mode(controls: Controls, config: CascadeConfig) -> str | None:
    """When a streamed answer leaves: buffered, commit, direct, or None: see `routing.stream`."""
    return controls.stream or config.routing.stream


def has_one_tier(controls: Controls, config: CascadeConfig) -> bool:
    """Whether only one tier may answer, so that nothing is judged."""
    return controls.tier is not None or controls.max_tier == 0 or len(config.tiers) == 1


_STREAMS = ("buffered", "commit", "direct")
_FLAGS = {"true": 1, "false": 0}
_KNOWN = (
    "x-cascadia-tier",
    "x-cascadia-max-tier",
    "x-cascadia-threshold",
    "x-cascadia-deadline-ms",
    "x-cascadia-stream",
    "x-cascadia-allow-degraded",
    "x-cascadia-keep-alive",
)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _stream_number(text: str) -> int | None:
    return _STREAMS.index(text) if text in _STREAMS else None


def _probability(text: str) -> float | None:
    value = _number(text)
    return value if value is not None and 0.0 <= value <= 1.0 else None


def _keep_alive_s(text: str) -> float | None:
    value = _number(text)
    return value if value is not None and is_keep_alive_s(value) else None


def _positive(text: str) -> float | None:
    value = _number(text)
    return value if value is not None and value > 0.0 else None
