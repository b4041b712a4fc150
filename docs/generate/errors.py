"""The error classes: when each is raised, and what a client or a shell sees of it."""

import inspect

from cascadia_sglang.cli import BAD_INPUT, INTERRUPTED
from cascadia_sglang.commands import INFEASIBLE, NOT_REACHED, plan_exit_code
from cascadia_sglang.errors import CascadiaError, PlanError, RequestError, control_status
from docs.generate.markdown import code, document, paragraph, table

# Statuses of a request to the cascade, and when it ends with each.
STATUSES = {
    400: "The request is malformed, a control is unknown, or no tier can take the prompt.",
    401: "The API key or the admin key is missing or wrong.",
    403: "The route needs the admin key, and the server has none.",
    404: "No tier and no served model has this name.",
    409: "A route of `/cascadia`: no plan keeps what was asked.",
    413: "The body is larger than `routing.max_body_bytes`.",
    429: "SGLang refuses the request because of its rate.",
    431: "The headers are larger than 16 KiB.",
    499: "The client ended the connection. Only metrics show this status.",
    500: "An internal error. The same request would fail again.",
    503: "No worker can take the request now. It may be sent again.",
    504: "The deadline passed, and no degraded answer is allowed.",
}

_EXIT_CODES = {
    0: "The command did what it was asked for.",
    BAD_INPUT: "Bad input, or an error of the table above. One line on stderr says which.",
    INFEASIBLE: "`plan`, `advise`: nothing keeps the budget and the quality floor.",
    NOT_REACHED: "`plan`: the plan misses the targets of `slo`, the sample does not show the "
    "floor, or the time limit came before any plan. "
    "`calibrate`: the sample does not show the target.",
    INTERRUPTED: "Ctrl-C.",
}


def classes() -> list[type[CascadiaError]]:
    """Every error class, a base class before those that derive from it."""
    return _below(CascadiaError)


def page() -> str:
    """A row per error class."""
    return document(
        "Errors",
        paragraph(
            "The text of every error is one line. It names the place, the value and what is "
            "allowed. Python code catches them all as `cascadia_sglang.CascadiaError`."
        ),
        table(("error", "derives from", "when", "HTTP status", "exit code"), map(_row, classes())),
        paragraph(
            "The HTTP status is that of a route of `/cascadia`. The exit code is that of a "
            "`cascadia` command."
        ),
        "## Statuses of a request",
        table(("status", "when"), [(str(status), when) for status, when in STATUSES.items()]),
        paragraph(
            "An error has the shape of its route: OpenAI's, Anthropic's, Ollama's or SGLang's. "
            "429 and 503 come with `retry-after`. 500 comes with `x-should-retry: false`."
        ),
        "## Exit codes of a command",
        table(("code", "when"), [(str(number), when) for number, when in _EXIT_CODES.items()]),
    )


def _below(kind: type[CascadiaError]) -> list[type[CascadiaError]]:
    children = [child for child in kind.__subclasses__() if child.__module__ == kind.__module__]
    return [kind, *(below for child in children for below in _below(child))]


def _row(kind: type[CascadiaError]) -> tuple[str, ...]:
    base = "-" if kind is CascadiaError else code(kind.__base__.__name__)  # type: ignore[union-attr]
    when = (inspect.getdoc(kind) or "").split("\n\n")[0]
    return code(kind.__name__), base, when, _status(kind), str(_exit_code(kind))


def _status(kind: type[CascadiaError]) -> str:
    return "its own" if issubclass(kind, RequestError) else str(control_status(kind))


def _exit_code(kind: type[CascadiaError]) -> int:
    return plan_exit_code(kind) if issubclass(kind, PlanError) else BAD_INPUT
