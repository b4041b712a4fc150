"""The cascade that a user writes in an afternoon: a proxy before one plain SGLang server a tier.

It asks the smallest server first, with log-probabilities, and the next one where the mean
log-probability of the answer is below the tier's threshold. It has the whole answer before it
knows, so it streams none.

Example:
    python -m bench.rivals.fronts.proxy --port 31000 --tier http://127.0.0.1:31001=-0.02 \
        --tier http://127.0.0.1:31002=-0.05 --tier http://127.0.0.1:31003=-inf
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import fastapi

from bench.rivals.fronts.front import Tier, build_app, post, serve, settings

# Of a request and a server's address: the answer to a body.
Ask = Callable[[fastapi.Request, str, Mapping[str, Any]], Awaitable[dict[str, Any]]]


def mean_logprob(answer: Mapping[str, Any]) -> float:
    """Of an answer's tokens; an empty one is the worst."""
    logprobs = [entry[0] for entry in answer["meta_info"]["output_token_logprobs"]]
    return sum(logprobs) / len(logprobs) if logprobs else float("-inf")


async def climb(request: fastapi.Request, tiers: Sequence[Tier], ask: Ask = post) -> dict[str, Any]:
    """The first answer that is good enough, or the last tier's."""
    body = await request.json()
    body["stream"] = False
    tokens = 0
    for url, least in tiers[:-1]:
        answer = await ask(request, url, {**body, "return_logprob": True})
        meta = answer["meta_info"]
        tokens += meta["completion_tokens"]
        if mean_logprob(answer) >= least:
            del meta["output_token_logprobs"]
            break
    else:
        answer = await ask(request, tiers[-1][0], body)
        tokens += answer["meta_info"]["completion_tokens"]
    answer["meta_info"]["proxy_tokens"] = tokens
    return answer


def main() -> None:
    """Serve."""
    options = settings(__doc__).parse_args()
    serve(build_app(climb, options.tier), options.port)


if __name__ == "__main__":
    main()
