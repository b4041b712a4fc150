"""The replies of a scripted engine, and the requests that they fit."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.messages import AttemptOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyStep:
    """What a streamed attempt shows on the way, and when after what was before."""

    seconds: float = 1.0
    committed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How a tier answers one sample.

    Attributes:
        score: of the judge; None for a judge that has none.
        uncut_score: of the judge, for an answer that was cut off at a length limit.
        seconds: until the answer, or the loss, is there.
        lost: whether the worker is lost on the way.
        dies: whether it ends by its own error on the way, with all that it runs.
        failed: whether a worker answers with an internal error.
        error: raised in place of an answer, as the engine's own errors are.
        steps: what is shown on the way where it is streamed; `seconds` count from the last.
        text: of the answer; one that names prompt and tier where it is None.
        kept: of a draft that the run comes with; None for a worker that reads none.
        draft_score: of that draft, by the second judge.
        features: of the answer, told where the attempt asks for them; ones where it is None.
    """

    score: float | None = None
    uncut_score: float | None = None
    tokens: int = 4
    seconds: float = 0.0
    early_abort: bool = False
    lost: bool = False
    dies: bool = False
    failed: bool = False
    error: Exception | None = None
    steps: tuple[ReplyStep, ...] = ()
    text: str | None = None
    kept: int | None = None
    draft_score: float | None = None
    features: tuple[float, ...] | None = None

    def record(self) -> dict[str, Any]:
        """Its features as a judge tells them."""
        features = self.features or (1.0,) * len(FEATURES)
        return {"tokens": [self.tokens], "features": [list(features)]}


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeLimits:
    """What fits a tier, in tokens."""

    context_tokens: int = 1000
    input_tokens: int = 1000


@dataclass(slots=True, kw_only=True)
class FakeRun:
    """A sample that was sent to a tier.

    Attributes:
        end: how it ended: answered, aborted, cancelled, lost, failed; empty while it runs.
    """

    rid: str
    text: str
    order: AttemptOrder
    end: str = ""
    stop: asyncio.Event = field(default_factory=asyncio.Event)
