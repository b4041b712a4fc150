"""A small receiver of OTLP over HTTP, for tests of traces."""

import http.server
import threading
import time
from collections.abc import Collection
from typing import Any

import pytest

trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")


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

    def of_trace(self, trace_id: str, names: Collection[str]) -> list[Any]:
        """Spans of a trace, once those of these names are among them."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            received = [span for span in self.spans if span.trace_id.hex() == trace_id]
            if set(names) <= {span.name for span in received}:
                return received
            time.sleep(0.2)
        raise AssertionError(f"{len(self.spans)} spans came, but not {names} of {trace_id}")
