"""Whatever is sent to the cascade's own routes or written into a cascade file, nothing breaks."""

import json
from types import SimpleNamespace
from typing import Any

import fastapi
import pytest
import schemathesis
import yaml
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance

from cascadia_sglang.config.cascade_file import build_cascade
from cascadia_sglang.controller.gearbox import Gearbox
from cascadia_sglang.controller.mover import Mover
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.http.middleware import CascadeMiddleware
from cascadia_sglang.http.write_routes import write_routes
from cascadia_sglang.metrics.counters import Metrics
from cascadia_sglang.page.discarded import DiscardedAnswers
from cascadia_sglang.testing.engine import FakeEngine, make_cascade
from cascadia_sglang.testing.services import make_router
from tests.unit.controller.fakes import Workers

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
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


@pytest.mark.parametrize("path", ["/cascadia/thresholds", "/cascadia/workers", "/cascadia/plan"])
@given(body=BODY)
@settings(max_examples=60)
def test_a_body_is_taken_or_refused_in_one_shape(path: str, body: bytes) -> None:
    reply = CLIENT.post(path, content=body, headers={"authorization": "Bearer key"})
    assert reply.status_code in (200, 400, 409, 503)
    if reply.status_code != 200:
        assert set(reply.json()["error"]) == {"message", "type", "param"}


@SCHEMA.parametrize()
@settings(max_examples=40, deadline=None)
def test_the_documented_routes_answer_as_documented(case: schemathesis.Case) -> None:
    """No 500, no undocumented status, content type or shape, nothing unauthorised."""
    case.call_and_validate(
        headers={"authorization": "Bearer key"},
        # Which numbers and names are allowed depends on the cascade, not on the schema.
        excluded_checks=[positive_data_acceptance],
    )


HEADER_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)


@given(name=HEADER_TEXT.filter(str.isalpha), value=HEADER_TEXT)
@settings(max_examples=60)
def test_a_control_header_is_taken_or_refused(name: str, value: str) -> None:
    headers = {f"x-cascadia-{name}": value.strip()}
    reply = CLIENT.get("/nowhere", headers=headers)
    assert reply.status_code in (400, 404)


def mutations(data: Any) -> st.SearchStrategy[Any]:
    """The same data with one place replaced, or one key more."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in list(items):
            places.append((node, key))
            if isinstance(value, dict | list):
                walk(value)

    walk(data)
    numbers = st.integers(0, len(places) - 1)

    def mutate(number: int, value: Any) -> Any:
        copy = json.loads(json.dumps(data))
        copied_places: list[tuple[Any, Any]] = []
        places_of = copied_places.append

        def again(node: Any) -> None:
            for key, inner in list(node.items() if isinstance(node, dict) else enumerate(node)):
                places_of((node, key))
                if isinstance(inner, dict | list):
                    again(inner)

        again(copy)
        node, key = copied_places[number]
        node[key] = value
        return copy

    return st.builds(mutate, numbers, JSON)


EXAMPLE = {
    "version": 1,
    "tiers": [
        {"name": "small", "model_path": "a/b", "calibration": "x", "replicas": 1},
        {"name": "large", "model_path": "a/c", "server_args": {"dtype": "x"}, "sampling": {}},
    ],
    "routing": {"thresholds": [0.5], "deadline_s": 1.0, "early_abort": 0.1, "gears": {}},
    "judge": {"on_error": "accept"},
    "planner": {"emulate": None, "gpu_budget": 2, "interval_s": 5.0},
}


@given(data=mutations(EXAMPLE) | JSON)
@settings(max_examples=150)
def test_a_cascade_file_is_taken_or_refused_with_one_line(data: Any) -> None:
    line = "here"
    try:
        build_cascade(yaml.safe_load(yaml.safe_dump(data)), "here")
    except ConfigError as error:
        line = str(error)
    assert line.startswith("here")
    assert "\n" not in line
