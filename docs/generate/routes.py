"""What a cascade does with each route of SGLang's server."""

from cascadia_sglang.http.routes import TABLE
from docs.generate.markdown import code, document, paragraph, table

# Method and path, what it does, and the key that it needs.
OWN_ROUTES = (
    (
        "GET /cascadia",
        "The page to watch the cascade on.",
        "as SGLang's `/server_info`",
    ),
    (
        "GET /cascadia/page/{name:path}",
        "A file of the page.",
        "as SGLang's `/server_info`",
    ),
    (
        "GET /cascadia/status",
        "Tiers, workers, thresholds, counters and the plan's number.",
        "as SGLang's `/server_info`",
    ),
    (
        "GET /cascadia/plan",
        "The active plan: pools, the devices of every replica, thresholds, the last move.",
        "as SGLang's `/server_info`",
    ),
    (
        "GET /cascadia/live",
        "What the page asks for every second: status, plan, and what is newer than `since`, "
        "`requests` and `events`.",
        "as SGLang's `/server_info`",
    ),
    (
        "GET /cascadia/recent",
        "Latency percentiles of the last hour, and the judge's scores.",
        "as SGLang's `/server_info`",
    ),
    (
        "GET /cascadia/what-if",
        "Expected quality, shares and cost under `?thresholds=0.8`. Needs `planner.sample`.",
        "as SGLang's `/server_info`",
    ),
    (
        "POST /cascadia/thresholds",
        'Sets the thresholds: `{"thresholds": [0.8]}`.',
        "the admin key",
    ),
    (
        "POST /cascadia/workers",
        "Moves a tier to a number of workers, and answers once it is done: "
        '`{"tier": "large", "replicas": 2}`.',
        "the admin key",
    ),
    (
        "POST /cascadia/plan",
        "Applies a plan. `tiers` gives `replicas` by tier, and `tp_size` and `pp_size` if they are "
        "to change. `thresholds` has one number per tier but the last. Without both, the planner "
        "makes a plan. `dry_run` applies nothing and shows the steps: "
        '`{"tiers": {"small": {"replicas": 2}}, "thresholds": [0.8], "dry_run": true}`.',
        "the admin key",
    ),
    (
        "POST /cascadia/discarded",
        'Discarded answers of one request: `{"rid": "a", "begin": true}` before it, then once '
        "without `begin`.",
        "the admin key",
    ),
)


def page() -> str:
    """The cascade's own routes, then a row per group of SGLang's."""
    own_rows = [(code(route), effect, key) for route, effect, key in OWN_ROUTES]
    theirs = [
        (
            ", ".join(code(path) for path in routes.paths),
            ". ".join(_sentence(text) for text in (routes.handling.value, routes.note) if text),
        )
        for routes in TABLE
    ]
    return document(
        "Routes",
        "## Routes of the cascade",
        table(("route", "what it does", "key"), own_rows),
        paragraph(
            "Send the admin key as `authorization: Bearer KEY`. Routes that need it answer 403 "
            "without `--admin-api-key`."
        ),
        "## Routes of SGLang",
        paragraph(
            "A cascade serves every route of SGLang's server in one of these ways. "
            "`tier` is a query parameter, or a field of a JSON body. The server process also "
            "answers `/api/ps` and `/api/version` for Ollama's clients."
        ),
        table(("routes", "what happens"), theirs),
    )


def _sentence(text: str) -> str:
    """A phrase with a capital at its beginning."""
    return text[:1].upper() + text[1:]
