"""All tool parsers of SGLang: a held answer that is cut gives the calls of an unstreamed one."""

import functools
import json
import logging
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import pytest

from cascadia_patches.registry import load_patch
from cascadia_sglang.router.output_splitting import Pieces
from tests.unit.router.tool_formats import FORMATS, MINIMAX_M3, Call

pytest.importorskip("sglang")

from sglang.srt.entrypoints.openai.protocol import Tool
from sglang.srt.function_call.function_call_parser import FunctionCallParser
from sglang.srt.function_call.parser_names import TOOL_CALL_PARSER_NAMES

CALLS: list[Call] = [
    ("get_weather", {"city": "Paris"}),
    ("get_time", {"zone": "Europe/Paris", "hours": 24}),
]
TOOLS = [
    Tool(type="function", function={"name": name, "parameters": {"properties": properties}})
    for name, properties in (
        ("get_weather", {"city": {"type": "string"}}),
        ("get_time", {"zone": {"type": "string"}, "hours": {"type": "integer"}}),
    )
]
# These read a template that comes with the model.
TEMPLATED = {"beam", "response_template"}
# SGLang's own streams lose the second call, token by token too: a hook mends them.
MENDED = {
    "mistral": "serving.mistral_detector_parse_streaming_increment",
    "interns1": "serving.internlm_detector_parse_streaming_increment",
}
ONE_CALL = {"gigachat3"}
# Text before a call is no part of these formats, or has a channel of its own.
NO_LEAD = {"gpt-oss", "llama3", "muse"}
# Markers are one token in the vocabularies of the models that write them.
TOKEN = re.compile(rf"{re.escape(MINIMAX_M3)}|<[^<>\n]{{1,40}}>|\[TOOL_CALLS\]|\w+|\s+|[^\w\s]")

Got = tuple[str, list[tuple[int, str, Any]]]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


def unstreamed(name: str, text: str) -> Got:
    normal, calls = FunctionCallParser(TOOLS, name).parse_non_stream(text)
    return normal.strip(), [(i, c.name, json.loads(c.parameters)) for i, c in enumerate(calls)]


def streamed(name: str, deltas: list[str]) -> Got:
    """As SGLang's chat route reads a stream, up to its end."""
    parser = FunctionCallParser(TOOLS, name)
    results = [parser.parse_stream_chunk(delta) for delta in deltas]
    results.append(parser.parse_stream_end())
    calls: dict[int, list[str]] = {}
    for call in [call for _, chunk_calls in results for call in chunk_calls]:
        parts = calls.setdefault(call.tool_index, ["", ""])
        parts[0] += call.name or ""
        parts[1] += call.parameters or ""
    normal = "".join(text or "" for text, _ in results)
    return normal.strip(), [(i, n, json.loads(a) if a else a) for i, (n, a) in calls.items()]


def deltas_of_pieces(tokens: list[str], is_incremental: bool) -> Iterator[str]:
    """What the route makes of an answer that leaves the router in one output."""
    output = {
        "text": "".join(tokens),
        "output_ids": list(range(len(tokens))),
        "meta_info": {"finish_reason": {"type": "stop"}, "completion_tokens": len(tokens)},
    }

    def decode(ids: list[int]) -> str:
        return "".join(tokens[number] for number in ids)

    sent = 0
    for piece in Pieces(decode, is_incremental).of(output):
        yield piece["text"] if is_incremental else piece["text"][sent:]
        sent = len(piece["text"])


def mend(monkeypatch: pytest.MonkeyPatch, patch_name: str) -> None:
    """Put a hook in force, for one test."""
    patch = load_patch(patch_name)
    original, hook = pkgutil.resolve_name(patch.target), patch.build(None)
    owner, _, method = patch.target.rpartition(".")
    monkeypatch.setattr(f"{owner}.{method}", functools.partialmethod(_hooked, original, hook))


def _hooked(detector: Any, original: Any, hook: Any, new_text: str, tools: Any) -> Any:
    return hook(original, detector, new_text, tools)


def test_every_parser_is_walked() -> None:
    assert set(FORMATS) | TEMPLATED == set(TOOL_CALL_PARSER_NAMES)


@pytest.mark.parametrize("lead", ["", "Let me see. "], ids=["call", "text and call"])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", FORMATS)
def test_a_cut_answer_gives_the_calls_of_an_unstreamed_one(
    monkeypatch: pytest.MonkeyPatch, name: str, count: int, lead: str
) -> None:
    if (lead and name in NO_LEAD) or (count > 1 and name in ONE_CALL):
        pytest.skip("not part of the format")
    text = lead + FORMATS[name](CALLS[:count])
    tokens = TOKEN.findall(text)
    assert "".join(tokens) == text
    if name in MENDED:
        mend(monkeypatch, MENDED[name])
    direct = streamed(name, tokens)
    for is_incremental in (False, True):
        assert streamed(name, list(deltas_of_pieces(tokens, is_incremental))) == direct
    whole = unstreamed(name, text)
    assert whole[1] == [(i, called, args) for i, (called, args) in enumerate(CALLS[:count])]
    assert direct == whole


@pytest.mark.parametrize("name", ["qwen25", "hermes", "llama3", "mistral", "deepseekv3"])
def test_an_uncut_answer_loses_its_arguments(name: str) -> None:
    """Why answers are cut: when this fails, SGLang reads text in pieces of any size."""
    assert streamed(name, [FORMATS[name](CALLS[:1])])[1] == [(0, "get_weather", "")]


@pytest.mark.parametrize("name", MENDED)
def test_without_its_hook_a_stream_loses_the_second_call(name: str) -> None:
    """When this fails, SGLang has mended it, and the hook can go."""
    assert len(streamed(name, TOKEN.findall(FORMATS[name](CALLS)))[1]) == 1


@pytest.mark.parametrize("size", [1, 2, 3, 16])
def test_the_mended_parsers_read_pieces_of_any_size(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    three = [*CALLS, ("get_weather", {"city": "a, b] [c"})]
    for name, patch_name in MENDED.items():
        mend(monkeypatch, patch_name)
        text = FORMATS[name](three)
        deltas = [text[begin : begin + size] for begin in range(0, len(text), size)]
        assert streamed(name, deltas) == unstreamed(name, text)


def test_mistrals_other_format_is_read_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    mend(monkeypatch, MENDED["mistral"])
    text = "".join(f"[TOOL_CALLS]{name}[ARGS]{json.dumps(a)}" for name, a in CALLS)
    assert streamed("mistral", TOKEN.findall(text)) == unstreamed("mistral", text)
    assert len(unstreamed("mistral", text)[1]) == 2
