"""Headers of requests and responses, and what `meta_info.cascadia` says."""

from typing import Any

from cascadia_sglang.http.header_documents import (
    ERROR_HEADERS,
    RESPONSE_HEADERS,
    RETRY_HEADERS,
    request_headers,
)
from docs.generate.markdown import code, document, paragraph, table

# Fields of `meta_info.cascadia`.
ANSWER_FIELDS = {
    "tier": "The tier that answered.",
    "tier_index": "Its number: 0 for the smallest tier.",
    "score": "Score of the answer, from 0 to 1. null where no judge rated it.",
    "calibrated": "Whether the score is a calibrated probability. false for a rank.",
    "attempts": "Every attempt, in order.",
    "prompt_ids": "With `judge.record`: the tokens of the prompt.",
    "entry": "With `routing.entry: predicted` or `priced`: the tier at which the request started.",
}

# Fields of an item of `meta_info.cascadia.attempts`.
ATTEMPT_FIELDS = {
    "tier": "The tier of the attempt.",
    "score": "Its score, from 0 to 1. null where no judge rated it.",
    "calibrated": "Whether the score is a calibrated probability.",
    "tokens": "Tokens that the attempt generated, over all samples.",
    "cached_tokens": "Prompt tokens that a prefix cache held.",
    "seconds": "Seconds of the attempt, its wait in the queue included.",
    "reason": "Why the attempt ended as it did. See below.",
    "kept": "Tokens of the draft of the tier below that stayed in the answer.",
    "draft_score": "The second judge's score of that draft.",
    "record": "With `judge.record`: the features from which a calibration is fitted.",
    "output_ids": "With `judge.record: every_token`: the tokens of the answer.",
}

REASONS = {
    "accepted": "The score reached the threshold.",
    "truncated": "A length limit cut the answer, it would have passed, and the next tier has no "
    "larger limit.",
    "verified": "The draft of the tier below was accepted.",
    "last_tier": "No larger tier could take the prompt.",
    "pinned": "The request named the tier.",
    "scoring": "The request asked for log-probabilities of the prompt.",
    "committed": "The stream began before the end, so the tier was final.",
    "unjudged": "The tier has no judge, and `judge.on_error` is `accept`.",
    "judge_error": "The judge gave no score. `judge.on_error` decides what follows.",
    "degraded": "Time or tiers ran out. It was the best finished answer, or else the longest "
    "text so far.",
    "aborted": "SGLang ended the answer, for example by `/abort_request`.",
    "below_threshold": "The score was below the threshold.",
    "early_abort": "The probability of acceptance fell below `routing.early_abort`.",
    "too_long": "The prompt does not fit the tier.",
    "other_tokenizer": "The request holds token ids, and the tier has another tokenizer.",
    "other_voice": "The prompt is for one voice alone, as `/v1/responses` with `background` is.",
    "text_only": "The prompt holds images or other media, and the tier's model reads text alone.",
    "unreadable": "The tier's chat template or tokenizer refuses the prompt.",
    "overloaded": "The tier's workers hold `routing.queue_limit` attempts each.",
    "tier_unavailable": "The tier has no worker that accepts requests.",
    "worker_lost": "The worker ended or hung.",
    "worker_failed": "The worker answered with an internal error.",
    "poison": "The request ended a worker twice, so it is not tried again.",
    "deadline": "The deadline passed.",
}


def page() -> str:
    """Tables of headers, then of the fields of a response."""
    request_rows = [
        (code(header["name"]), header["description"], _allowed(header["schema"]))
        for header in request_headers(())
    ]
    response_rows = [
        (code(name), text, "yes" if name in ERROR_HEADERS else "no")
        for name, (text, _) in RESPONSE_HEADERS.items()
    ]
    response_rows += [(code(name), text, "alone") for name, (text, _) in RETRY_HEADERS.items()]
    return document(
        "Headers and response fields",
        "## Request headers",
        paragraph("A malformed or unknown `x-cascadia-` header gets a 400 that names it."),
        table(("header", "effect", "allowed"), request_rows),
        "## Response headers",
        table(("header", "meaning", "with an error"), response_rows),
        "## `meta_info.cascadia`",
        paragraph(
            "The native route `/generate` returns these fields. A stream that a sign of life "
            "opened brings its late fields in `usage.cascadia`."
        ),
        table(("field", "meaning"), _fields(ANSWER_FIELDS)),
        "## An item of `attempts`",
        table(("field", "meaning"), _fields(ATTEMPT_FIELDS)),
        "## Reasons",
        table(("reason", "meaning"), _fields(REASONS)),
    )


def _fields(meanings: dict[str, str]) -> list[tuple[str, str]]:
    return [(code(name), text) for name, text in meanings.items()]


def _allowed(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(code(value) for value in schema["enum"]) or "the name of a tier"
    if schema["type"] == "boolean":
        return "`true`, `false`"
    if "exclusiveMinimum" in schema:
        return f"a number above {schema['exclusiveMinimum']}"
    return f"a number from {schema['minimum']} to {schema['maximum']}"
