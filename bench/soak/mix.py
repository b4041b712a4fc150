"""What the soak sends: one request after another, drawn from shares of routes and of kinds."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.soak.bodies import (
    ANSWER_TEXT,
    BATCHES,
    CITY,
    GRAMMARS,
    MALFORMED,
    PLAIN,
    SAMPLES,
    STREAMS,
    STREAMS_BY_ITSELF,
    TOOLS,
)

TIERS = ("small", "middle", "large")
# Decodes speculatively.
SPECULATIVE = "large"

# Shares in percent; no route below 2.
ROUTES: Mapping[str, float] = {
    "/generate": 28,
    "/v1/chat/completions": 22,
    "/v1/completions": 12,
    "/v1/messages": 11,
    "/v1/responses": 10,
    "/api/chat": 5,
    "/api/generate": 4,
    "/invocations": 4,
    "/vertex_generate": 4,
}
# Of a route's requests, by weight; a kind that the route does not know is left out.
KINDS: Mapping[str, float] = {
    "plain": 40,
    "batch": 12,
    "samples": 6,
    "tools": 5,
    "grammar": 5,
    "pinned": 14,
    "sampled": 6,
    "predicted": 9,
    "deadline": 5,
    "degraded": 3,
    "aborted": 8,
    "dropped": 4,
    "malformed": 4,
    "session": 8,
}
_ROUTES_OF: Mapping[str, Sequence[str]] = {
    "batch": BATCHES,
    "samples": tuple(SAMPLES),
    "tools": tuple(TOOLS),
    "grammar": tuple(GRAMMARS),
    "predicted": ("/v1/chat/completions",),
    "aborted": ("/generate",),
    "session": ("/generate",),
}
# Kinds that have no stream: of some the end must be readable, others are no single answer.
_WHOLE = ("malformed", "session")
STREAM_SHARE = 0.62
MODES = ("buffered", "commit", "direct")
TOKENS = (8, 32, 128)
# Enough for the call of the tool.
FORCED_TOKENS = 96
# The server ends what takes longer.
DEADLINE_MS = 45_000
SHORT_DEADLINES_MS = (20, 100, 400)
# An answer may end with any of these instead, where a process is lost or no capacity is left.
BUSY = (429, 503, 504)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, and what may come of it.

    Attributes:
        route: its path.
        kind: a key of `KINDS`.
        mode: how it streams; None for a whole answer.
        prompts: whose answers are compared with a quiet server's; empty for none.
        texts: that the answer must be, for each prompt and sample; empty where they are not known.
        choices: answers that it has.
        errors: HTTP statuses that are a clear end.
        is_refused: whether it must end with an error.
    """

    route: str
    kind: str
    mode: str | None
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    content: bytes | None = None
    prompts: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    choices: int = 1
    errors: tuple[int, ...] = BUSY
    is_refused: bool = False

    @property
    def payload(self) -> bytes:
        return json.dumps(self.body).encode() if self.content is None else self.content


class Mix:
    """Draws requests; the same seed and prompts always give the same ones."""

    def __init__(self, prompts: Sequence[str], seed: int) -> None:
        self._prompts = prompts
        self._rng = random.Random(seed)

    def draw(self) -> Request:
        """The next request."""
        rng = self._rng
        (route,) = rng.choices(list(ROUTES), list(ROUTES.values()))
        kinds = [kind for kind in KINDS if route in _ROUTES_OF.get(kind, (route,))]
        (kind,) = rng.choices(kinds, [KINDS[kind] for kind in kinds])
        is_stream = route in STREAMS and kind not in _WHOLE and rng.random() < STREAM_SHARE
        mode = rng.choice(MODES) if is_stream else None
        if kind == "malformed":
            return self._malformed(route)
        return self._proper(route, kind, mode)

    def _malformed(self, route: str) -> Request:
        headers, content = self._rng.choice(MALFORMED)
        content = content or json.dumps(PLAIN[route](self._some_prompts(1), 8, 0.0)).encode()
        errors = (400, 404, 422, *BUSY)
        common = {"content-type": "application/json", **headers}
        return Request(
            route=route,
            kind="malformed",
            mode=None,
            headers=common,
            body={},
            content=content,
            errors=errors,
            is_refused=True,
        )

    def _proper(self, route: str, kind: str, mode: str | None) -> Request:
        rng = self._rng
        prompts = self._some_prompts(rng.randint(2, 5) if kind == "batch" else 1)
        is_forced = kind in ("tools", "grammar")
        tokens = FORCED_TOKENS if is_forced else rng.choice(TOKENS)
        body = PLAIN[route](prompts, tokens, 0.8 if kind == "sampled" else 0.0)
        headers = {"content-type": "application/json"}
        headers["x-cascadia-deadline-ms"] = str(DEADLINE_MS)
        choices, texts, errors = len(prompts), (), BUSY
        if mode is not None:
            headers["x-cascadia-stream"] = mode
        if mode is not None or route in STREAMS_BY_ITSELF:
            body["stream"] = mode is not None
        if kind == "samples":
            choices = rng.randint(2, 3)
            *path, last = SAMPLES[route]
            inner = body[path[0]] if path else body
            inner[last] = choices
            prompts = prompts * choices
        elif kind == "tools":
            body |= TOOLS[route]
            texts = (json.dumps(CITY),)
        elif kind == "grammar":
            inner = body["sampling_params"] if route == "/generate" else body
            inner |= GRAMMARS[route]
            texts = (ANSWER_TEXT,)
        elif kind == "pinned":
            headers["x-cascadia-tier"] = rng.choice(TIERS)
        elif kind == "predicted":
            guess = {"type": "content", "content": rng.choice(("4690", "abcdefgh", prompts[0]))}
            body["prediction"] = guess
        elif kind == "deadline":
            headers["x-cascadia-deadline-ms"] = str(rng.choice(SHORT_DEADLINES_MS))
        elif kind == "degraded":
            headers["x-cascadia-allow-degraded"] = "true"
            headers["x-cascadia-deadline-ms"] = str(rng.choice((400, DEADLINE_MS)))
        elif kind == "aborted":
            # A uuid of this generator, so that a piece can be drawn again.
            body["rid"] = uuid.UUID(int=rng.getrandbits(128)).hex
            errors = (400, *BUSY)
        elif kind == "session":
            # A session is lost with its worker.
            errors = (400, *BUSY)
        is_known = kind in (
            *("plain", "batch", "samples", "pinned", "predicted", "deadline", "degraded"),
        )
        return Request(
            route=route,
            kind=kind,
            mode=mode,
            headers=headers,
            body=body,
            prompts=tuple(prompts) if is_known else (),
            texts=texts,
            choices=choices,
            errors=errors,
        )

    def _some_prompts(self, count: int) -> list[str]:
        return self._rng.choices(self._prompts, k=count)
