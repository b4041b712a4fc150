"""Traces of the real server, as a receiver of OTLP gets them."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.system.serving import CASCADE, Server, start
from tests.unit.router.otlp_receiver import Receiver

pytestmark = [pytest.mark.sglang, pytest.mark.slow]

pytest.importorskip("opentelemetry.proto")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")
pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc.trace_exporter")

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.close()


@pytest.fixture(scope="module")
def traced(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("traces")
    endpoint = f"http://127.0.0.1:{receiver.port}/v1/traces"
    flags = ("--enable-trace", "--otlp-traces-endpoint", endpoint)
    environment = {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}
    server = start(folder, *CASCADE, *flags, environment=environment)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


def test_attempts_and_sglangs_spans_hang_below_the_request(
    traced: Server, receiver: Receiver
) -> None:
    body = {
        "model": "cascadia",
        "messages": [{"role": "user", "content": "mul 987 6"}],
        "temperature": 0,
        "max_tokens": 16,
    }
    headers = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01", "x-cascadia-threshold": "1"}
    response = httpx.post(
        f"{traced.url}/v1/chat/completions", json=body, headers=headers, timeout=60
    )
    assert response.headers["x-cascadia-tier"] == "large"
    spans = receiver.of_trace(TRACE_ID, ("chat cascadia", "chat small", "chat large"))
    by_name = {span.name: span for span in spans}
    request = by_name["chat cascadia"]
    assert request.parent_span_id.hex() == PARENT_ID
    attempts = [by_name["chat small"], by_name["chat large"]]
    assert {attempt.parent_span_id for attempt in attempts} == {request.span_id}
    # SGLang's own span of each attempt.
    parents = {span.parent_span_id for span in spans if " Req " in span.name}
    assert parents == {attempt.span_id for attempt in attempts}
    attributes = {attribute.key: attribute.value for attribute in attempts[0].attributes}
    assert attributes["cascadia.reason"].string_value in ("below_threshold", "early_abort")
    assert attributes["gen_ai.request.model"].string_value == "small"
