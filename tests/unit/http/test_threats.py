"""The page about threats says of every route what the code does."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sglang.srt.utils.auth import AuthLevel, decide_request_auth

from cascadia_sglang.http.routes import HANDLING, Handling
from docs.generate.routes import OWN_ROUTES

PAGE = Path("docs/explanation/threats.md").read_text()
API, ADMIN = "api", "admin"
# By the name of the group: a path of it and the level that SGLang gives its routes.
GROUPS = {
    "probes and metrics": ("/health_generate", AuthLevel.NORMAL),
    "requests and reading": ("/generate", AuthLevel.NORMAL),
    "control": ("/flush_cache", AuthLevel.ADMIN_OPTIONAL),
    "changing the cascade": ("/cascadia/plan", AuthLevel.ADMIN_FORCE),
}
SETTINGS = {
    "no key set": (None, None),
    "`--api-key`": (API, None),
    "`--admin-api-key`": (None, ADMIN),
    "both": (API, ADMIN),
}
# The keys that open a route.
OPENED_BY = {
    "open": {None, API, ADMIN},
    "API key": {API},
    "admin key": {ADMIN},
    "refused": set(),
}


def table(heading: str) -> list[list[str]]:
    """The cells of the table whose first line begins so, without its header."""
    lines = PAGE[PAGE.index(f"| {heading} |") :].splitlines()
    rows = [line for line in lines[: lines.index("")] if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def levels() -> dict[str, AuthLevel]:
    """Of every route of SGLang."""
    from sglang.srt.entrypoints.http_server import app

    def of(routes: list[Any]) -> Iterator[tuple[str, AuthLevel]]:
        for route in routes:
            inner = getattr(route, "original_router", None)
            if inner is not None:
                yield from of(inner.routes)
            else:
                level = getattr(getattr(route, "endpoint", None), "_auth_level", None)
                yield route.path, level or AuthLevel.NORMAL

    return dict(of(app.router.routes))


@pytest.mark.parametrize("row", table("routes"), ids=lambda row: row[0])
@pytest.mark.parametrize("number", range(len(SETTINGS)), ids=list(SETTINGS))
def test_a_group_of_routes_is_opened_by_the_keys_that_the_page_says(
    row: list[str], number: int
) -> None:
    path, level = GROUPS[row[0]]
    api_key, admin_key = list(SETTINGS.values())[number]
    opened_by = {
        key
        for key in (None, API, ADMIN)
        if decide_request_auth(
            method="POST",
            path=path,
            authorization_header=None if key is None else f"Bearer {key}",
            api_key=api_key,
            admin_api_key=admin_key,
            auth_level=level,
        ).allowed
    }
    assert opened_by == OPENED_BY[row[1 + number]]


def test_the_page_names_every_route_that_is_open_without_a_key_and_should_not_be() -> None:
    named = {path for row in table("control route") for path in re.findall(r"`(/[^`]+)`", row[0])}
    served = {path for path, handling in HANDLING.items() if handling is not Handling.REFUSED}
    control = {path for path, level in levels().items() if level is AuthLevel.ADMIN_OPTIONAL}
    assert named == control & served


def test_no_route_that_acts_on_workers_is_left_out_but_those_for_reading_and_sessions() -> None:
    acting = {
        path
        for path, handling in HANDLING.items()
        if handling in (Handling.CONTROL, Handling.TIER_CONTROL)
    }
    open_to_all = {path for path in acting if levels()[path] is AuthLevel.NORMAL}
    assert open_to_all == {
        *("/server_info", "/get_server_info", "/v1/loads", "/get_hicache_l3_cache_layout"),
        *("/open_session", "/close_session"),
    }


def test_what_changes_the_cascade_is_what_the_page_says() -> None:
    changing = {route for route, _, key in OWN_ROUTES if key == "the admin key"}
    line = next(line for line in PAGE.splitlines() if line.startswith("- **Changing the cascade**"))
    assert {f"POST {path}" for path in re.findall(r"(/cascadia/\w+)`", line)} == changing
    assert {route.split()[0] for route in changing} == {"POST"}
