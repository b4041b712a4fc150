"""The `x-cascadia-*` headers in the server's OpenAPI document."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cascadia_sglang.http.routes import HANDLING, Handling

RESPONSE_HEADERS: dict[str, tuple[str, dict[str, Any]]] = {
    "x-cascadia-tier": ("The tier that answered.", {"type": "string"}),
    "x-cascadia-score": (
        "Score of the answer: the probability that it is right, or a rank. Missing where no judge "
        "rated it, and for a batch.",
        {"type": "number", "minimum": 0, "maximum": 1},
    ),
    "x-cascadia-calibrated": (
        "Whether the score is a calibrated probability. false: it is a rank, by which a share of "
        "the tier's answers is refused. Missing where the score is missing.",
        {"type": "boolean"},
    ),
    "x-cascadia-reason": (
        "Why the answer went out. Missing for a batch, and where the stream began before the "
        "whole answer was there.",
        {"type": "string"},
    ),
    "x-cascadia-attempts": (
        "Attempts on all tiers together. Missing where signs of life opened the stream.",
        {"type": "integer", "minimum": 1},
    ),
    "x-cascadia-total-tokens": (
        "Tokens that all tiers generated. Missing where the stream began before the whole answer "
        "was there.",
        {"type": "integer", "minimum": 0},
    ),
    "x-cascadia-gear": (
        "Gear of the thresholds when the request came. Missing in gear 0.",
        {"type": "integer", "minimum": 1},
    ),
}
# Those that an error has too, where an attempt was made.
ERROR_HEADERS = ("x-cascadia-attempts", "x-cascadia-total-tokens", "x-cascadia-gear")
# Those of an error alone.
RETRY_HEADERS: dict[str, tuple[str, dict[str, Any]]] = {
    "retry-after": (
        "Seconds after which a worker may be there again.",
        {"type": "integer", "minimum": 1},
    ),
    "x-should-retry": (
        "`false` where the same request would fail again.",
        {"type": "string", "enum": ["false"]},
    ),
}


def documenting_headers(
    openapi: Callable[[], dict[str, Any]], tiers: Sequence[str]
) -> Callable[[], dict[str, Any]]:
    """An application's `openapi`, with the headers of the routes that the cascade answers.

    Args:
        openapi: makes the document, and returns the same one until the routes change.
        tiers: names that a request may give.
    """

    def documented() -> dict[str, Any]:
        document = openapi()
        for path, operations in document["paths"].items():
            if HANDLING.get(path) is Handling.CASCADE:
                for operation in operations.values():
                    _describe(operation, tiers)
        return document

    return documented


def _describe(operation: dict[str, Any], tiers: Sequence[str]) -> None:
    """Add the headers to an operation; a second time changes nothing."""
    ours = request_headers(tiers)
    names = {header["name"] for header in ours}
    parameters = [
        parameter for parameter in operation.get("parameters", []) if parameter["name"] not in names
    ]
    operation["parameters"] = [*parameters, *ours]
    responses = operation["responses"]
    responses.setdefault("200", {"description": "The answer."})
    responses["200"]["headers"] = _headers(RESPONSE_HEADERS)
    responses["default"] = {
        "description": "An error, in the shape of the route.",
        "headers": {**_headers(ERROR_HEADERS), **_shown(RETRY_HEADERS)},
    }


def _headers(names: Iterable[str]) -> dict[str, Any]:
    return _shown({name: RESPONSE_HEADERS[name] for name in names})


def _shown(headers: dict[str, tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    return {
        name: {"description": text, "schema": schema} for name, (text, schema) in headers.items()
    }


def request_headers(tiers: Sequence[str]) -> list[dict[str, Any]]:
    """Documents of the headers by which a request controls the cascade.

    Args:
        tiers: names that a request may give.
    """
    names = list(tiers)

    def header(name: str, text: str, **schema: Any) -> dict[str, Any]:
        return {
            "name": f"x-cascadia-{name}",
            "in": "header",
            "required": False,
            "description": text,
            "schema": schema,
        }

    return [
        header("tier", "The one tier that answers.", type="string", enum=names),
        header("max-tier", "The largest tier that may answer.", type="string", enum=names),
        header(
            "threshold",
            "The score from which an answer is accepted, on every calibrated tier. An error where "
            "no tier is calibrated.",
            type="number",
            minimum=0,
            maximum=1,
        ),
        header(
            "deadline-ms",
            "Milliseconds for the whole request, over all tiers.",
            type="number",
            exclusiveMinimum=0,
        ),
        header(
            "stream",
            "When a streamed answer leaves. Default: `routing.stream`.",
            type="string",
            enum=["buffered", "commit", "direct"],
        ),
        header(
            "allow-degraded",
            "Whether the best finished answer may go out where time or tiers run out. Without a "
            "finished answer, the longest text so far goes out, with the finish reason `length`.",
            type="boolean",
        ),
        header(
            "keep-alive",
            "Seconds of silence after which a held stream gives a sign of life: 0 for never, or "
            "0.1 and more. `/generate` gives none without this header.",
            type="number",
            minimum=0,
            maximum=3600,
        ),
    ]
