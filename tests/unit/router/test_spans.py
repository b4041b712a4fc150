"""Spans of a request and its attempts, as OpenTelemetry's SDK exports them."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from cascadia_sglang.errors import RequestError
from cascadia_sglang.messages import AttemptOrder
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.feedback.spans import CONVENTIONS, Spans
from cascadia_sglang.router.request import ResponseSummary
from cascadia_sglang.testing.engine import FakeEngine, Reply, make_request
from cascadia_sglang.testing.services import make_router
from tests.unit.router.asking import GOOD, THREE, TWO, WEAK, ask

sdk = pytest.importorskip("opentelemetry.sdk.trace")
memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
export = pytest.importorskip("opentelemetry.sdk.trace.export")
pytest.importorskip("opentelemetry.proto")
from tests.unit.router.otlp_receiver import Receiver  # noqa: E402  without its packages, a skip

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PATH = "/v1/chat/completions"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """What was exported; the provider is that of the test alone."""
    exported = memory.InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exported))
    open_spans(monkeypatch, provider)
    yield exported
    provider.shutdown()


def open_spans(patch: pytest.MonkeyPatch, provider: Any) -> None:
    """Have routers that are made from now on trace to a provider."""
    from opentelemetry import trace

    patch.setattr(trace, "get_tracer", provider.get_tracer)
    plain = Spans.__init__

    def opened(self: Spans, tiers: Any) -> None:
        plain(self, tiers)
        self.open(lambda: True)

    patch.setattr(Spans, "__init__", opened)


def http_request(**headers: str) -> Any:
    async def is_disconnected() -> bool:
        return False

    return SimpleNamespace(
        headers=headers, url=SimpleNamespace(path=PATH), is_disconnected=is_disconnected, scope={}
    )


def exported_spans(exporter: Any) -> tuple[Any, list[Any]]:
    """The prompt's span, and those of its attempts in order."""
    spans = exporter.get_finished_spans()
    parent = next(span for span in spans if "cascadia.attempts" in span.attributes)
    children = [span for span in spans if span is not parent]
    return parent, sorted(children, key=lambda span: span.start_time)


def test_attempts_are_children_of_one_span_that_is_a_child_of_the_callers(exporter: Any) -> None:
    traceparent = f"00-{TRACE_ID}-{PARENT_ID}-01"
    engine = FakeEngine(WEAK, WEAK, GOOD)
    ask(engine, THREE, http_request=http_request(traceparent=traceparent))
    parent, children = exported_spans(exporter)
    assert parent.name == "chat cascadia"
    assert f"{parent.context.trace_id:032x}" == TRACE_ID
    assert f"{parent.parent.span_id:016x}" == PARENT_ID
    assert [span.name for span in children] == ["chat small", "chat middle", "chat large"]
    for child, run in zip(children, engine.runs, strict=True):
        assert child.parent.span_id == parent.context.span_id
        # SGLang's own spans of the attempt go under it.
        assert run.order.traceparent == f"00-{TRACE_ID}-{child.context.span_id:016x}-01"
        assert parent.start_time <= child.start_time <= child.end_time
    assert parent.instrumentation_scope.schema_url.endswith(f"/{CONVENTIONS}")


def test_attributes_are_those_of_the_conventions_and_of_the_attempts(exporter: Any) -> None:
    ask(FakeEngine(WEAK, Reply(score=None, tokens=7)), TWO, http_request=http_request())
    parent, (first, second) = exported_spans(exporter)
    assert parent.attributes["gen_ai.operation.name"] == "chat"
    assert parent.attributes["gen_ai.request.model"] == "cascadia"
    assert parent.attributes["gen_ai.response.model"] == "large"
    assert parent.attributes["gen_ai.response.id"] == "caller"
    assert parent.attributes["gen_ai.usage.output_tokens"] == 7
    assert parent.attributes["cascadia.attempts"] == 2
    assert parent.attributes["cascadia.reason"] == "last_tier"
    assert first.attributes["gen_ai.request.model"] == first.attributes["cascadia.tier"] == "small"
    assert first.attributes["cascadia.score"] == 0.3
    assert first.attributes["cascadia.reason"] == "below_threshold"
    assert first.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert "cascadia.score" not in second.attributes
    assert parent.status.is_ok or parent.status.is_unset


def test_no_text_is_in_a_span(exporter: Any) -> None:
    ask(FakeEngine(Reply(score=0.9, text="an answer"), GOOD), http_request=http_request())
    for span in exporter.get_finished_spans():
        assert "answer" not in str(dict(span.attributes))
        assert "question" not in str(dict(span.attributes))


def test_a_pinned_request_is_of_its_tiers_model(exporter: Any) -> None:
    ask(FakeEngine(GOOD, GOOD), controls=Controls(tier=1))
    parent, (child,) = exported_spans(exporter)
    assert parent.name == child.name == "text_completion large"


def test_an_error_ends_the_span_with_its_status(exporter: Any) -> None:
    ask(FakeEngine(None, None))
    parent, children = exported_spans(exporter)
    assert children == []
    assert parent.attributes["error.type"] == "503"
    assert not parent.status.is_ok


def test_a_lost_attempt_has_a_span_of_its_own(exporter: Any) -> None:
    engine = FakeEngine([Reply(lost=True), GOOD], GOOD, workers=[2, 1])
    ask(engine)
    parent, children = exported_spans(exporter)
    assert [span.name for span in children] == ["text_completion small"] * 2
    assert children[0].attributes["error.type"] == "WorkerLostError"
    assert children[1].attributes["cascadia.reason"] == "accepted"
    assert parent.attributes["cascadia.reason"] == "accepted"


def test_a_client_that_leaves_takes_its_spans_along(exporter: Any) -> None:
    engine = FakeEngine(WEAK, Reply(score=None, seconds=60.0))
    router = make_router(TWO, engine)

    async def main() -> None:
        request = make_request(rid="leaver")
        answer = router.answer(request, None, Controls(), ResponseSummary())
        task = asyncio.ensure_future(anext(answer))
        await asyncio.sleep(0.2)
        assert len(router.services.spans._open) == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    assert router.services.spans._open == {}
    parent, children = exported_spans(exporter)
    assert [span.name for span in children] == ["text_completion small", "text_completion large"]
    assert parent.attributes["error.type"] == "499"


def test_a_tracer_that_fails_costs_no_request(
    exporter: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    del exporter

    def failing(*_: Any, **__: Any) -> None:
        raise RequestError(500, "no trace")

    monkeypatch.setattr(Spans, "_begin", failing)
    assert ask(FakeEngine(WEAK, GOOD)).error is None
    assert [record.args for record in caplog.records if "lacks a span" in record.message] == [(1,)]


def test_without_tracing_an_order_is_left_unchanged() -> None:
    order = AttemptOrder(tier_index=0, threshold=0.5, early_abort=None, earlier_scores=())
    prompt: Any = SimpleNamespace(prompt_id=1)
    spans = Spans(["small"])
    spans.begin(prompt)
    assert spans.attempt(prompt, order) is order


def test_a_receiver_of_otlp_gets_the_spans() -> None:
    exporters = pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    receiver = Receiver()
    provider = sdk.TracerProvider()
    endpoint = f"http://127.0.0.1:{receiver.port}/v1/traces"
    exporter = exporters.OTLPSpanExporter(endpoint=endpoint, timeout=10)
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    with pytest.MonkeyPatch.context() as patch:
        open_spans(patch, provider)
        traceparent = f"00-{TRACE_ID}-{PARENT_ID}-01"
        ask(FakeEngine(WEAK, GOOD), http_request=http_request(traceparent=traceparent))
    try:
        names = ("chat cascadia", "chat small", "chat large")
        spans = {span.name: span for span in receiver.of_trace(TRACE_ID, names)}
        request = spans["chat cascadia"]
        assert request.parent_span_id.hex() == PARENT_ID
        for name in ("chat small", "chat large"):
            assert spans[name].parent_span_id == request.span_id
            assert spans[name].end_time_unix_nano >= spans[name].start_time_unix_nano
    finally:
        provider.shutdown()
        receiver.close()
