"""The kinds of requests of the soak, and how each of them may end."""

import asyncio
import itertools
import json
import random
import uuid
from dataclasses import dataclass
from typing import Any

import aiohttp

# Shares of the kinds.
KINDS = {
    "whole": 30,
    "buffered": 10,
    "commit": 15,
    "direct": 10,
    "batch": 10,
    "pinned": 10,
    "aborted": 5,
    "dropped": 5,
    "malformed": 5,
}
# Statuses that say clearly why there is no answer.
CLEAR = (400, 404, 422, 503, 504)


@dataclass(frozen=True, slots=True)
class RequestEnd:
    """How a request ended: answered, error, dropped, hung, twice, or broken and why."""

    kind: str
    what: str
    is_busy: bool = False  # a 503, which asks to come again


async def send(
    session: aiohttp.ClientSession, base: str, kind: str, rng: random.Random, deadline_ms: str
) -> RequestEnd:
    """Send one request of a kind and see how it ends."""
    headers = {"x-cascadia-deadline-ms": deadline_ms}
    body = _body(kind, rng)
    if kind in ("buffered", "commit", "direct"):
        body["stream"] = True
        headers["x-cascadia-stream"] = kind
    if kind == "pinned":
        headers["x-cascadia-tier"] = rng.choice(("small", "large"))
    if kind == "malformed":
        return await _malformed(session, base, rng)
    if kind == "dropped":
        return await _dropped(session, base, body, headers, rng)
    if kind == "aborted":
        body["rid"] = uuid.uuid4().hex
        abort = asyncio.create_task(_abort(session, base, body["rid"], rng.uniform(0.01, 0.5)))
        ended = await _ask(session, base, kind, body, headers)
        await abort
        return ended
    return await _ask(session, base, kind, body, headers)


def _body(kind: str, rng: random.Random) -> dict[str, Any]:
    prompts = [_prompt(rng) for _ in range(rng.randint(2, 6) if kind == "batch" else 1)]
    tokens = rng.choice((8, 32, 120))
    params = {"temperature": 0, "max_new_tokens": tokens, "ignore_eos": rng.random() < 0.3}
    return {"text": prompts if kind == "batch" else prompts[0], "sampling_params": params}


def _prompt(rng: random.Random) -> str:
    letters = "".join(rng.choices("abcdefghij", k=rng.randint(2, 12)))
    numbers = f"{rng.randint(10, 99999)} {rng.randint(10, 99999)}"
    return rng.choice((f"rev {letters}", f"sort {letters}", f"add {numbers}", f"steps {numbers}"))


async def _ask(
    session: aiohttp.ClientSession,
    base: str,
    kind: str,
    body: dict[str, Any],
    headers: dict[str, str],
) -> RequestEnd:
    try:
        async with session.post(f"{base}/generate", json=body, headers=headers) as response:
            text = await response.text()
    except aiohttp.ClientError as error:
        return RequestEnd(kind, f"broken: {type(error).__name__}")
    if response.status != 200:
        is_clear = response.status in CLEAR and "error" in text
        what = "error" if is_clear else f"broken: status {response.status}"
        return RequestEnd(kind, what, response.status == 503)
    if body.get("stream"):
        return RequestEnd(kind, _end_of_stream(text))
    answer = json.loads(text)
    items = answer if isinstance(answer, list) else [answer]
    prompts = len(body["text"]) if isinstance(body["text"], list) else 1
    if len(items) != prompts:
        return RequestEnd(kind, f"broken: {len(items)} items for {prompts}")
    return RequestEnd(kind, "answered")


def _end_of_stream(text: str) -> str:
    """A stream ends in exactly one last output or one error, and then in [DONE]."""
    events = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    if not events or events[-1] != "[DONE]":
        return "broken: no end"
    outputs = [json.loads(event) for event in events[:-1]]
    errors = sum("error" in output for output in outputs)
    finished = sum(
        output["meta_info"]["finish_reason"] is not None
        for output in outputs
        if "error" not in output
    )
    if errors + finished > 1:
        return "twice"
    if errors + finished == 0:
        return "broken: no answer"
    tiers = {o["meta_info"].get("cascadia", {}).get("tier") for o in outputs if "error" not in o}
    texts = [output["text"] for output in outputs if "error" not in output]
    grows = all(b.startswith(a) for a, b in itertools.pairwise(texts))
    if len(tiers - {None}) > 1 or not grows:
        return "broken: the answer changed after it was seen"
    return "error" if errors else "answered"


async def _abort(session: aiohttp.ClientSession, base: str, rid: str, after_s: float) -> None:
    await asyncio.sleep(after_s)
    async with session.post(f"{base}/abort_request", json={"rid": rid}) as response:
        await response.read()


async def _dropped(
    session: aiohttp.ClientSession,
    base: str,
    body: dict[str, Any],
    headers: dict[str, str],
    rng: random.Random,
) -> RequestEnd:
    """The client goes away before it has its answer."""
    body["sampling_params"] |= {"max_new_tokens": 400, "ignore_eos": True}
    timeout = aiohttp.ClientTimeout(total=rng.uniform(0.05, 0.6))
    try:
        async with session.post(
            f"{base}/generate", json=body, headers=headers, timeout=timeout
        ) as response:
            await response.read()
    except TimeoutError:
        return RequestEnd("dropped", "dropped")
    except aiohttp.ClientError as error:
        return RequestEnd("dropped", f"broken: {type(error).__name__}")
    return RequestEnd("dropped", "answered" if response.status == 200 else "error")


async def _malformed(session: aiohttp.ClientSession, base: str, rng: random.Random) -> RequestEnd:
    headers, content = rng.choice(
        (
            ({}, b'{"text": '),
            ({}, b'{"text": "rev abc", "sampling_params": {"temperature": -1}}'),
            ({"x-cascadia-tier": "huge"}, b'{"text": "rev abc"}'),
            ({"x-cascadia-threshold": "two"}, b'{"text": "rev abc"}'),
            ({}, b'{"sampling_params": {"temperature": 0}}'),
        )
    )
    headers = {"content-type": "application/json", **headers}
    async with session.post(f"{base}/generate", data=content, headers=headers) as response:
        text = await response.text()
    is_clear = response.status in CLEAR and "error" in text
    what = "error" if is_clear else f"broken: status {response.status}"
    return RequestEnd("malformed", what, response.status == 503)
