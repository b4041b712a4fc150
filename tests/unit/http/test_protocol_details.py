"""What clients send beside the question, and when a stream begins."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

pytest.importorskip("sglang")

from sglang.srt.entrypoints.anthropic.protocol import AnthropicMessagesRequest
from sglang.srt.entrypoints.openai.protocol import ResponsesRequest

from cascadia_sglang.http.clients.anthropic_system import without_billing_line
from cascadia_sglang.http.clients.opening_events import with_answer
from cascadia_sglang.http.clients.responses_items import with_known_items

BILLING = "x-anthropic-billing-header: cc_version=2.1; cch=fa690;"
TELL = [{"role": "user", "content": "hello"}]
FUNCTION = {"type": "function", "name": "weather", "parameters": {"type": "object"}}


def system_of(system: Any) -> Any:
    body = {"model": "m", "max_tokens": 8, "messages": TELL, "system": system}
    request = without_billing_line(AnthropicMessagesRequest(**body))
    if isinstance(request.system, list):
        return [block.text for block in request.system]
    return request.system


def block(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


@pytest.mark.parametrize(
    ("system", "prompt"),
    [
        (None, None),
        ("Be brief.", "Be brief."),
        (BILLING, ""),
        (f"{BILLING}\nBe brief.", "Be brief."),
        ([block(BILLING), block("Be brief.")], ["Be brief."]),
        ([block(f"{BILLING}\n{BILLING}\nBe brief.")], ["Be brief."]),
        ([block("Be brief."), block(f"Never write {BILLING}")], None),
    ],
)
def test_the_billing_line_is_no_part_of_the_prompt(system: Any, prompt: Any) -> None:
    assert system_of(system) == (
        [b["text"] for b in system] if prompt is None and system else prompt
    )


def responses(*items: dict[str, Any], tools: tuple[dict[str, Any], ...] = ()) -> ResponsesRequest:
    body = {"model": "m", "input": [*TELL, *items], "tools": list(tools)}
    return with_known_items(ResponsesRequest(**body))


def test_tools_that_come_as_items_join_the_others() -> None:
    custom = {"type": "custom", "name": "apply_patch"}
    late = {"type": "function", "name": "later", "parameters": {"type": "object"}}
    unknown = {"type": "unheard_of", "name": "x"}
    namespace = {"type": "namespace", "name": "mcp", "tools": [FUNCTION]}
    request = responses(
        {"type": "additional_tools", "tools": [FUNCTION, custom, unknown, namespace]},
        {"type": "tool_search_output", "tools": [late]},
        {"type": "additional_tools"},
        tools=(FUNCTION,),
    )
    assert [tool.name for tool in request.tools] == ["weather", "apply_patch", "later"]
    assert request.input == TELL


def test_records_of_hosted_tools_are_left_out_and_others_stay() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"}
    compaction = {"type": "compaction", "encrypted_content": "x"}
    request = responses({"type": "web_search_call", "id": "w"}, call, compaction)
    assert request.input == [*TELL, call, compaction]


def test_a_request_without_such_items_is_left_as_it_is() -> None:
    request = ResponsesRequest(model="m", input="hello")
    assert with_known_items(request) is request
    request = ResponsesRequest(model="m", input=TELL)
    assert with_known_items(request) is request


async def test_the_events_that_open_a_stream_wait_for_the_answer() -> None:
    taken = []
    closed = False
    sent = [f"event: response.{name}\ndata: {{}}\n\n" for name in ("created", "in_progress", "x")]

    async def events() -> AsyncGenerator[str, None]:
        nonlocal closed
        try:
            for event in sent:
                taken.append(event)
                yield event
        finally:
            closed = True

    stream = with_answer(events())
    assert await anext(stream) == sent[0]
    assert taken == sent
    assert [event async for event in stream] == sent[1:]
    assert closed

    async def opened() -> AsyncGenerator[str, None]:
        yield sent[0]

    assert [event async for event in with_answer(opened())] == sent[:1]
