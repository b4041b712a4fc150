"""Traces of the real server, as a receiver of OTLP gets them."""

import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.system.serving import CASCADE, Server, start

pytestmark = [pytest.mark.sglang, pytest.mark.slow]

trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")
pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc.trace_exporter")

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Receiver:
    """Takes OTLP over HTTP on a port of this machine; `spans` by name and attributes."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["content-length"]))
                request = trace_service.ExportTraceServiceRequest()
                request.ParseFromString(content)
                for resource in request.resource_spans:
                    for scope in resource.scope_spans:
                        receiver.spans += scope.spans
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing on stderr."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def of_trace(self, trace_id: str, least: int) -> list[Any]:
        """Spans of a trace, once there are so many."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            found = [one for one in self.spans if one.trace_id.hex() == trace_id]
            if len(found) >= least:
                return found
            time.sleep(0.2)
        raise AssertionError(f"{len(self.spans)} spans came, none enough of {trace_id}")


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


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
    told = httpx.post(f"{traced.url}/v1/chat/completions", json=body, headers=headers, timeout=60)
    assert told.headers["x-cascadia-tier"] == "large"
    spans = receiver.of_trace(TRACE_ID, 5)
    by_name = {span.name: span for span in spans}
    request = by_name["chat cascadia"]
    assert request.parent_span_id.hex() == PARENT_ID
    attempts = [by_name["chat small"], by_name["chat large"]]
    assert {one.parent_span_id for one in attempts} == {request.span_id}
    # SGLang's own span of each attempt.
    parents = {span.parent_span_id for span in spans if " Req " in span.name}
    assert parents == {one.span_id for one in attempts}
    attributes = {one.key: one.value for one in attempts[0].attributes}
    assert attributes["cascadia.reason"].string_value in ("below_threshold", "early_abort")
    assert attributes["gen_ai.request.model"].string_value == "small"
