"""The reference pages are those of the code, and the code has nothing that they leave out."""

import ast
import dataclasses
import re
from collections.abc import Iterator

import msgspec
import pytest

from cascadia_sglang.cli import COMMANDS
from cascadia_sglang.config.settings import CascadeConfig, JudgeConfig
from cascadia_sglang.drafts.policy import DraftCounts
from cascadia_sglang.field_docs import nested_structs
from cascadia_sglang.http.routes import HANDLING
from cascadia_sglang.messages import DraftReport
from cascadia_sglang.metrics.families import FAMILIES
from cascadia_sglang.metrics.labels import ANSWER_REASONS, ERROR_STATUSES, ESCALATION_REASONS
from cascadia_sglang.planner.problem.problem import Problem
from cascadia_sglang.router.attempt import Attempt, story_of
from cascadia_sglang.router.engine_protocol import Refusal
from cascadia_sglang.schemas import NAMES
from cascadia_sglang.testing.engine import make_cascade
from docs.generate.environment import CHECKS, INTERNAL, READ
from docs.generate.errors import STATUSES, classes
from docs.generate.headers import ANSWER_FIELDS, ATTEMPT_FIELDS, REASONS
from docs.generate.other_files import FILES, PLAN_FILES
from docs.generate.pages import FOLDER, PAGES
from docs.generate.routes import OWN_ROUTES
from docs.generate.status import SECTIONS
from tests.repo.source import Source, product_files

VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")


def page(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def package() -> list[Source]:
    return [s for s in product_files() if s.module.startswith(("cascadia_sglang", "cascadia_p"))]


def texts(source: Source) -> Iterator[str]:
    """Every text constant of a module."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_that_of_the_code(name: str) -> None:
    assert page(name) == PAGES[name](), "run `make docs`"


def test_the_index_links_every_page() -> None:
    index = page("index.md")
    assert [path.name for path in FOLDER.glob("*.md") if f"({path.name})" not in index] == [
        "index.md"
    ]


@pytest.mark.parametrize(
    ("name", "structs"),
    [
        ("configuration.md", [CascadeConfig]),
        ("problem-file.md", [Problem]),
        ("other-files.md", [struct for _, _, struct, _ in FILES]),
        ("plan-files.md", [struct for _, _, struct, _ in PLAN_FILES]),
    ],
)
def test_every_key_of_a_file_has_a_row(name: str, structs: list[type[msgspec.Struct]]) -> None:
    text = page(name)
    kinds = dict.fromkeys(kind for struct in structs for kind in nested_structs(struct))
    keys = [field.encode_name for kind in kinds for field in msgspec.structs.fields(kind)]
    assert len(keys) > 60
    for key in set(keys):
        assert text.count(f"\n| `{key}` |") == keys.count(key), key


def test_every_schema_has_a_page() -> None:
    files = (*FILES, *PLAN_FILES)
    assert {"cascade", "problem", *(schema for _, schema, _, _ in files)} == set(NAMES)


def test_every_command_and_flag_of_the_cascade_has_its_place() -> None:
    text = page("command-line.md")
    assert [name for name in COMMANDS if f"\n## cascadia {name}\n" not in text] == []
    flags = {
        flag
        for source in package()
        for constant in texts(source)
        for flag in re.findall(r"--cascade-[a-z-]+[a-z]", constant)
    }
    assert len(flags) >= 7
    assert [flag for flag in flags if f"| `{flag}" not in text] == []


def test_every_metric_has_a_row() -> None:
    text = page("metrics.md")
    assert [family.name for family in FAMILIES if f"\n| `{family.name}` |" not in text] == []


def test_every_header_has_a_row() -> None:
    named = {
        header
        for source in package()
        for constant in texts(source)
        for header in re.findall(r"x-cascadia-[a-z-]*[a-z]", constant)
    }
    assert len(named) > 10
    assert [header for header in named if f"\n| `{header}` |" not in page("headers.md")] == []


def test_every_error_class_has_a_row() -> None:
    """Errors that reach an operator or a client are defined in one module."""
    names = {kind.__name__ for kind in classes()}
    defined = {
        node.name
        for source in package()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).split(".")[-1] in names for base in node.bases)
    }
    assert defined == names - {"CascadiaError"}


def test_every_environment_variable_has_a_row() -> None:
    documented = {*READ, *INTERNAL, *CHECKS}
    defined = {
        text
        for source in product_files()
        for text in texts(source)
        if re.fullmatch(r"CASCADIA_[A-Z_]+", text)
    }
    # Whatever is looked up in the environment, by a constant or by the constant's name.
    read = {name for source in package() for name in environment_reads(source)}
    assert {"XDG_CACHE_HOME", "CUDA_VISIBLE_DEVICES", "CASCADIA_STEP_LOG"} <= defined | read
    assert (defined | read) - documented == set()
    assert {*INTERNAL, *CHECKS} & set(READ) == set()


def environment_reads(source: Source) -> Iterator[str]:
    """Variables that a module looks up in `os.environ`."""
    constants = {
        target.id: node.value.value
        for node in source.tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }
    for node in ast.walk(source.tree):
        key: ast.expr | None = None
        if isinstance(node, ast.Call) and "os.environ." in ast.unparse(node.func) and node.args:
            key = node.args[0]
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            key = node.slice
        elif isinstance(node, ast.Compare) and ast.unparse(node.comparators[0]) == "os.environ":
            key = node.left
        name = constants.get(key.id) if isinstance(key, ast.Name) else None
        if isinstance(key, ast.Constant):
            name = key.value
        if name is not None and VARIABLE.fullmatch(name):
            yield name


def test_every_route_has_a_row() -> None:
    text = page("routes.md")
    assert [path for path in HANDLING if f"`{path}`" not in text] == []
    served = {
        f"{method.upper()} {path}"
        for source in package()
        for method, path in re.findall(r"@router\.(get|post)\(\"(/cascadia[^\"]*)\"", source.text)
    }
    assert served == {route for route, _, _ in OWN_ROUTES}


def test_every_field_of_a_response_has_a_row() -> None:
    draft = DraftReport(kept=1, score=0.5)
    attempt = Attempt(
        tier_index=0, reason="accepted", record={}, draft=draft, outputs=[{"output_ids": [1]}]
    )
    judge = JudgeConfig(record="every_token")
    config = make_cascade("small", "large", entry="priced", judge=judge)
    story = story_of([attempt], attempt, config, [1])
    assert story.keys() == ANSWER_FIELDS.keys()
    assert story["attempts"][0].keys() == ATTEMPT_FIELDS.keys()


def test_every_field_of_the_status_has_a_row() -> None:
    builders = {
        "cascadia_sglang.http.status": {
            *("status", "_devices", "_escalation", "_drift", "_shadow", "_warm", "_nodes"),
        },
        "cascadia_sglang.self_calibration.controller": {"summary", "_shown"},
        "cascadia_sglang.fleet.event_feeds": {"summary", "_told"},
    }
    given = {
        key.value
        for source in package()
        for function in ast.walk(source.tree)
        if isinstance(function, ast.FunctionDef)
        and function.name in builders.get(source.module, ())
        for node in ast.walk(function)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }
    drafts = {field.name for field in dataclasses.fields(DraftCounts)}
    documented = {name for _, meanings in SECTIONS for name in meanings}
    assert len(given) > 50
    assert given | drafts == documented


def test_every_reason_and_every_status_has_a_row() -> None:
    router = [s for s in package() if s.module.startswith("cascadia_sglang.router")]
    given = {
        reason
        for source in router
        for reason in re.findall(r"\breason ?= ?\"([a-z_]+)\"", source.text)
    }
    assert len(given) > 8
    refused = {refusal.value for refusal in Refusal}
    assert {*given, *refused, *ANSWER_REASONS, *ESCALATION_REASONS} == REASONS.keys()
    assert set(ERROR_STATUSES) <= STATUSES.keys()
