"""Whatever is sent to the cascade's own routes, nothing breaks."""

import json
import urllib.parse
from types import SimpleNamespace

import fastapi
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance

from cascadia_sglang.controller.gearbox import Gearbox
from cascadia_sglang.controller.mover import Mover
from cascadia_sglang.http.middleware import CascadeMiddleware
from cascadia_sglang.http.write_routes import write_routes
from cascadia_sglang.metrics.counters import Metrics
from cascadia_sglang.page.discarded import DiscardedAnswers
from cascadia_sglang.testing.engine import FakeEngine, make_cascade
from cascadia_sglang.testing.services import make_router
from tests.unit.controller.fakes import Workers
from tests.unit.fuzz.damage import EXAMPLES, JSON
from tests.unit.http.test_install import ADMIN_KEY, installed

BODY = (
    st.binary(max_size=40)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries(
        {},
        optional={
            "thresholds": st.lists(st.floats() | st.integers(), max_size=3) | JSON,
            "tier": st.sampled_from(["small", "large"]) | JSON,
            "replicas": st.integers() | JSON,
            "tiers": st.dictionaries(
                st.sampled_from(["small", "large"]),
                st.fixed_dictionaries(
                    {"replicas": st.integers(-1, 9)}, optional={"tp_size": st.integers(0, 3)}
                ),
            )
            | JSON,
            "dry_run": st.booleans(),
            "rid": st.text(max_size=8) | JSON,
            "begin": st.booleans() | JSON,
        },
    ).map(lambda value: json.dumps(value).encode())
)


def make_app() -> fastapi.FastAPI:
    config = make_cascade("small", "large")

    router = make_router(config, FakeEngine())
    gearbox = Gearbox(config, router, list)
    workers = Workers(fails=range(1, 10**9))
    server = SimpleNamespace(
        config=config,
        router=router,
        gearbox=gearbox,
        fleet=workers,
        mover=Mover(workers, gearbox, config, Metrics(["small", "large"])),
        controller=None,
        discarded=DiscardedAnswers(["small", "large"]),
    )
    args = SimpleNamespace(api_key=None, admin_api_key="key")
    app = fastapi.FastAPI()
    for route in write_routes(server, SimpleNamespace(server_args=args)).routes:
        app.router.routes.append(route)
    app.add_middleware(
        CascadeMiddleware,
        config=config,
        served_name="served",
        on_startup=lambda: None,
        flag_of=lambda *_: None,
    )
    return app


APP = make_app()
CLIENT = TestClient(APP, raise_server_exceptions=True)
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", APP)


@pytest.mark.parametrize("name", ["thresholds", "workers", "plan", "discarded"])
@given(body=BODY)
@settings(max_examples=EXAMPLES)
def test_a_body_is_taken_or_refused_in_one_shape(name: str, body: bytes) -> None:
    url = f"/cascadia/{name}"
    reply = CLIENT.post(url, content=body, headers={"authorization": "Bearer key"})
    assert reply.status_code in (200, 400, 409, 503)
    if reply.status_code != 200:
        assert set(reply.json()["error"]) == {"message", "type", "param"}


@SCHEMA.parametrize()
@settings(max_examples=EXAMPLES, deadline=None)
def test_the_documented_routes_answer_as_documented(case: schemathesis.Case) -> None:
    """No 500, no undocumented status, content type or shape, nothing unauthorised."""
    case.call_and_validate(
        headers={"authorization": "Bearer key"},
        # Which numbers and names are allowed depends on the cascade, not on the schema.
        excluded_checks=[positive_data_acceptance],
    )


HEADER_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)


@given(name=HEADER_TEXT.filter(str.isalpha), value=HEADER_TEXT)
@settings(max_examples=EXAMPLES)
def test_a_control_header_is_taken_or_refused(name: str, value: str) -> None:
    headers = {f"x-cascadia-{name}": value.strip()}
    reply = CLIENT.get("/nowhere", headers=headers)
    assert reply.status_code in (400, 404)


READ = (
    "/cascadia",
    "/cascadia/page/",
    "/cascadia/status",
    "/cascadia/plan",
    "/cascadia/live",
    "/cascadia/recent",
    "/cascadia/what-if",
)
QUERY = st.dictionaries(
    st.sampled_from(["since", "requests", "events", "thresholds", "tier"]) | st.text(max_size=4),
    st.text(max_size=8)
    | st.integers().map(str)
    | st.floats().map(str)
    | st.lists(st.floats(0, 1).map(str), max_size=3).map(",".join),
    max_size=3,
)
WHOLE = TestClient(installed(None), raise_server_exceptions=True)


@pytest.mark.parametrize("path", READ)
@given(data=st.data())
@settings(max_examples=EXAMPLES)
def test_a_query_is_answered_or_refused_in_one_shape(path: str, data: st.DataObject) -> None:
    name = data.draw(st.text(max_size=12)) if path.endswith("/") else ""
    key = data.draw(st.sampled_from(["", f"Bearer {ADMIN_KEY}", "Basic ===", "Basic " + "A" * 40]))
    method = data.draw(st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "DELETE", "OPTIONS"]))
    reply = WHOLE.request(
        method,
        f"{path}{urllib.parse.quote(name, safe='')}",
        params=data.draw(QUERY),
        headers={"authorization": key} if key else {},
    )
    assert reply.status_code in (200, 304, 400, 401, 404, 405, 409)
    assert "Traceback" not in reply.text
    if reply.status_code in (400, 409):
        assert set(reply.json()["error"]) == {"message", "type", "param"}
