"""The generated pages by name."""

from collections.abc import Callable
from pathlib import Path

from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.planner.problem.problem import Problem
from docs.generate import (
    command_line,
    environment,
    errors,
    headers,
    metrics,
    other_files,
    python_api,
    routes,
    settings,
    status,
)

FOLDER = Path(__file__).resolve().parents[1] / "reference"


def configuration() -> str:
    """The keys of a cascade file."""
    return settings.page(
        "Cascade file",
        CascadeConfig,
        "A cascade file is YAML or JSON. Paths in it are relative to the file. Unknown keys are "
        "errors. `cascadia validate` checks a file, `cascadia schema cascade` prints its JSON "
        "schema.",
    )


def problem_file() -> str:
    """The keys of a problem file."""
    return settings.page(
        "Problem file",
        Problem,
        "`cascadia plan` and `cascadia advise` read a problem file. It is JSON. Paths in it are "
        "relative to the file. `cascadia schema problem` prints its JSON schema.",
    )


PAGES: dict[str, Callable[[], str]] = {
    "command-line.md": command_line.page,
    "configuration.md": configuration,
    "environment.md": environment.page,
    "errors.md": errors.page,
    "headers.md": headers.page,
    "metrics.md": metrics.page,
    "other-files.md": other_files.page,
    "plan-files.md": other_files.plan_page,
    "problem-file.md": problem_file,
    "python.md": python_api.page,
    "routes.md": routes.page,
    "status.md": status.page,
}
