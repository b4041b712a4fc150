"""The cascade that a user writes in an afternoon: a proxy before one plain SGLang server a tier.

It asks the smallest server first, with log-probabilities, and the next one where the mean
log-probability of the answer is below the tier's threshold.

Example:
    python -m bench.rivals.proxy --port 31000 --tier http://127.0.0.1:31001=-0.02 \
        --tier http://127.0.0.1:31002=-0.05 --tier http://127.0.0.1:31003=-inf
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import fastapi
import uvicorn

Tier = tuple[str, float]  # a server's address, and the mean log-probability that it accepts from


def mean_logprob(answer: Mapping[str, Any]) -> float:
    """Of an answer's tokens; an empty one is the worst."""
    logprobs = [entry[0] for entry in answer["meta_info"]["output_token_logprobs"]]
    return sum(logprobs) / len(logprobs) if logprobs else float("-inf")


def build_app(tiers: Sequence[Tier]) -> fastapi.FastAPI:
    """The proxy over these tiers, smallest first."""
    sessions: list[aiohttp.ClientSession] = []

    @asynccontextmanager
    async def lifespan(_: fastapi.FastAPI) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            sessions.append(session)
            yield

    app = fastapi.FastAPI(lifespan=lifespan)

    @app.get("/health_generate")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/generate")
    async def generate(request: fastapi.Request) -> Any:
        body = await request.json()
        answer: dict[str, Any] = {}
        for index, (url, threshold) in enumerate(tiers):
            is_last = index == len(tiers) - 1
            asked = body if is_last else {**body, "return_logprob": True}
            async with sessions[0].post(f"{url}/generate", json=asked) as response:
                answer = await response.json()
            if is_last or mean_logprob(answer) >= threshold:
                answer["meta_info"].pop("output_token_logprobs", None)
                answer["meta_info"]["proxy_tier"] = index
                break
        return answer

    return app


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tier", action="append", metavar="URL=FROM", required=True)
    options = parser.parse_args()
    pairs = [tier.rsplit("=", 1) for tier in options.tier]
    tiers = [(url, float(least)) for url, least in pairs]
    uvicorn.run(build_app(tiers), host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
