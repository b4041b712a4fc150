"""Bodies that SGLang's own code fails to read."""

from typing import Any

import fastapi
import pytest
from fastapi.testclient import TestClient
from sglang.srt.entrypoints import http_server
from sglang.srt.entrypoints.openai.protocol import ChatCompletionRequest
from sglang.srt.managers.io_struct import VertexGenerateReqInput

from cascadia_sglang.http.errors.unread_bodies import answer_unread_bodies


def make_client() -> TestClient:
    app = fastapi.FastAPI()

    @app.post("/v1/chat/completions")
    async def chat(request: ChatCompletionRequest) -> dict[str, str]:
        if request.user == "fail":
            raise TypeError("of the route itself")
        return {"read": "yes"}

    app.post("/vertex_generate")(http_server.vertex_generate)
    answer_unread_bodies(app)
    return TestClient(app, raise_server_exceptions=False)


CLIENT = make_client()
CHAT = {"model": "m", "messages": [{"role": "user", "content": "a"}]}


@pytest.mark.parametrize("wrong", ["x", [None], 5], ids=repr)
def test_a_field_that_a_schema_looks_into_too_early_is_a_400(wrong: Any) -> None:
    reply = CLIENT.post("/v1/chat/completions", json={**CHAT, "response_format": wrong})
    assert reply.status_code == 400
    assert "the body does not fit the route" in reply.json()["message"]


@pytest.mark.parametrize("parameters", [{"foo": 1}, {"image_data": ["x"]}, {"text": "a"}], ids=repr)
def test_a_parameter_that_vertex_does_not_pass_on_is_a_400(parameters: dict[str, Any]) -> None:
    body = {"instances": [{"text": "a"}], "parameters": parameters}
    assert VertexGenerateReqInput(**body)
    reply = CLIENT.post("/vertex_generate", json=body)
    assert reply.status_code == 400
    assert next(iter(parameters)) in reply.json()["error"]["message"]


def test_an_error_of_a_route_stays_a_500() -> None:
    assert CLIENT.post("/v1/chat/completions", json={**CHAT, "user": "fail"}).status_code == 500


def test_a_body_that_fits_is_read() -> None:
    assert CLIENT.post("/v1/chat/completions", json=CHAT).json() == {"read": "yes"}
