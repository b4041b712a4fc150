"""The block that a server logs when it is ready, by its text."""

import json
import shlex

import pytest

from cascadia_sglang.server.ready_block import JudgeState, ServerSummary, TierSummary, ready_block

SMALL = TierSummary(
    name="small",
    model="Qwen/Qwen3-0.6B",
    workers=2,
    devices=(0, 1),
    weights_bytes=1.5e9,
    kv_bytes=3.2e9,
    kv_tokens=28_000,
    accepts="score >= 0.9",
    judge=JudgeState.CALIBRATED,
)
LARGE = TierSummary(
    name="large",
    model="/models/large",
    workers=1,
    devices=(),
    weights_bytes=None,
    kv_bytes=None,
    kv_tokens=4_096,
    accepts="every answer",
    judge=JudgeState.OFF,
)
PLACES = {"status": "http://127.0.0.1:30000/cascadia/status", "metrics": "off"}


def server(*, has_chat: bool = True, needs_key: bool = False) -> ServerSummary:
    return ServerSummary(
        version="0.1.0",
        url="http://127.0.0.1:30000",
        tiers=(SMALL, LARGE),
        places=PLACES,
        has_chat=has_chat,
        needs_key=needs_key,
    )


def test_the_block_says_what_serves_and_where() -> None:
    *lines, curl = ready_block(server()).splitlines()
    assert lines == [
        "Cascadia 0.1.0 is ready on http://127.0.0.1:30000",
        "  tier   model            workers  devices  weights  KV cache               accepts       "
        "judge",
        "  small  Qwen/Qwen3-0.6B  2        0,1      1.5 GB   3.2 GB, 28,000 tokens  score >= 0.9  "
        "calibrated",
        "  large  /models/large    1        CPU      unknown  4,096 tokens           every answer  "
        "off",
        "  status   http://127.0.0.1:30000/cascadia/status",
        "  metrics  off",
        "  try it:",
    ]
    assert curl.startswith("curl -s http://127.0.0.1:30000/v1/chat/completions -H ")


@pytest.mark.parametrize("has_chat", [True, False])
@pytest.mark.parametrize("needs_key", [True, False])
def test_the_curl_is_one_command_that_a_shell_reads(has_chat: bool, needs_key: bool) -> None:
    curl = ready_block(server(has_chat=has_chat, needs_key=needs_key)).splitlines()[-1]
    program, silent, url, *rest = shlex.split(curl)
    assert (program, silent) == ("curl", "-s")
    assert url.endswith("/v1/chat/completions" if has_chat else "/v1/completions")
    body = json.loads(rest[-1])
    assert ("messages" in body, "prompt" in body) == (has_chat, not has_chat)
    assert ("authorization: Bearer YOUR-API-KEY" in rest) == needs_key
