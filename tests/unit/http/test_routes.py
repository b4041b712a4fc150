"""The table of routes is that of SGLang's application."""

from collections.abc import Iterator
from typing import Any

from cascadia_sglang.http.routes import HANDLING, TABLE


def paths(routes: list[Any]) -> Iterator[str]:
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from paths(inner.routes)
        else:
            yield route.path


def test_every_route_of_sglang_is_in_the_table_and_no_other() -> None:
    from sglang.srt.entrypoints.http_server import app

    # Mounted when the server starts with metrics.
    assert set(paths(app.router.routes)) | {"/metrics"} == set(HANDLING)


def test_no_route_stands_twice() -> None:
    assert len(HANDLING) == sum(len(routes.paths) for routes in TABLE)
