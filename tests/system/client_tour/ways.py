"""The ways in which an answer reaches a client, and requests that go all of them at once."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

REQUESTS_AT_ONCE = 16
KEEP_ALIVE_S = 0.1

Case = TypeVar("Case")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Way:
    """How an answer comes about.

    Attributes:
        mode: how it is streamed: a value of the header, or `default` for none; None where it is
            not streamed.
        tier: that gives it: the first, or the last one after the first one's answer is turned down.
        keep_alive_s: the silence after which the client wants a sign of life; 0 for never.
        is_pinned: whether the request names the tier.
    """

    mode: str | None
    tier: str
    keep_alive_s: float = 0.0
    is_pinned: bool = False

    @property
    def headers(self) -> dict[str, str]:
        headers = {"x-cascadia-threshold": "0" if self.tier == "small" else "1"}
        if self.is_pinned:
            headers["x-cascadia-tier"] = self.tier
        if self.mode is not None:
            if self.mode != "default":
                headers["x-cascadia-stream"] = self.mode
            headers["x-cascadia-keep-alive"] = str(self.keep_alive_s)
        return headers

    @property
    def whole(self) -> "Way":
        """To the same answer, unstreamed."""
        return Way(None, self.tier)


# In direct mode no answer climbs. A tool call takes longer than the shortest silence.
STREAMS = {
    "buffered": Way("buffered", "small"),
    "commit": Way("commit", "small"),
    "direct": Way("direct", "small"),
    "buffered-climbs": Way("buffered", "large"),
    "commit-climbs": Way("commit", "large"),
    "default": Way("default", "small"),
    "default-climbs": Way("default", "large"),
    "pinned": Way("buffered", "small", is_pinned=True),
    "pinned-large": Way("default", "large", is_pinned=True),
    "kept-alive": Way("buffered", "small", keep_alive_s=KEEP_ALIVE_S),
}
WHOLES = (Way(None, "small"), Way(None, "large"))


class Answers(Generic[Case, Answer]):
    """Each case's answers, asked for together: beside others an answer is what it is alone."""

    def __init__(
        self,
        cases: Mapping[str, Case],
        ask: Callable[[Case, Way], Answer],
        ways: Iterable[Way] = (*WHOLES, *STREAMS.values()),
    ) -> None:
        """`ask` sends one request; it runs in several threads at once."""
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as threads:
            self._futures: dict[tuple[str, Way], Future[Answer]] = {
                (name, way): threads.submit(ask, case, way)
                for way in ways
                for name, case in cases.items()
            }

    def of(self, name: str, way: Way) -> Answer:
        """The answer, or the error that came in its place is raised."""
        return self._futures[name, way].result()
