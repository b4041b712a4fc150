"""Input items of the Responses API that SGLang does not know, as agents such as Codex send them.

- `additional_tools`, `tool_search_output`: their tools join those of the request.
- Records of what a hosted tool did (`web_search_call` and the like) are left out: the model's own
  messages after them hold what it made of the result.
- All others keep SGLang's answer, a 400 that names the item. `compaction` and `item_reference`
  stand for text that this server has never seen.
"""

from typing import Any

import pydantic
from sglang.srt.entrypoints.openai.protocol import ResponsesRequest, ResponseTool

_TOOL_ITEMS = frozenset({"additional_tools", "tool_search_output"})
_RECORDS = frozenset(
    {
        "web_search_call",
        "file_search_call",
        "image_generation_call",
        "code_interpreter_call",
        "computer_call",
        "mcp_list_tools",
        "tool_search_call",
        "ghost_snapshot",
    }
)


def with_known_items(request: ResponsesRequest) -> ResponsesRequest:
    """The request without those items, and with the tools that they bring."""
    if not isinstance(request.input, list):
        return request
    kinds = [item.get("type") if isinstance(item, dict) else None for item in request.input]
    if not any(kind in _TOOL_ITEMS or kind in _RECORDS for kind in kinds):
        return request
    items: list[Any] = []
    tools = list(request.tools)
    names = {tool.name for tool in tools if tool.name}
    for item, kind in zip(request.input, kinds, strict=True):
        if kind in _TOOL_ITEMS:
            for tool in _tools_of(item):
                if tool.name not in names:
                    names.add(tool.name)
                    tools.append(tool)
        elif kind not in _RECORDS:
            items.append(item)
    return request.model_copy(update={"input": items, "tools": tools})


def _tools_of(item: dict[str, Any]) -> list[ResponseTool]:
    """The tools of an item that a model can be offered: functions and custom ones with a name."""
    tools = []
    for written in item.get("tools") or ():
        try:
            tool = ResponseTool.model_validate(written)
        except pydantic.ValidationError:
            # Of a kind that SGLang does not know; the others can still be called.
            continue
        if tool.type in ("function", "custom") and tool.name:
            tools.append(tool)
    return tools
