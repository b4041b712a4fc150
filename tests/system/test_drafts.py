"""A larger tier goes on from the small one's draft, and says what it would have said alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.tasks.splits import sample
from tests.system.serving import CASCADE, ROOT, Server, start

pytestmark = [pytest.mark.sglang, pytest.mark.slow]

ALONE = {"x-cascadia-tier": "large"}
CLIMBS = {"x-cascadia-threshold": "1"}
LONG = sample("test", 63_000, 10, ("steps",))
# Of several chunks, the first ones without a place of the draft.
CHUNKED = [f"set ab=12\n{'set cd=34' + chr(10)}" * 4 + row.prompt for row in LONG[:4]]
PROMPTS = [*CHUNKED, *(row.prompt for row in [*LONG, *sample("test", 63_001, 20)])]
MIDDLE = {
    "name": "middle",
    "model_path": "demo/models/middle",
    "calibration": "demo/models/middle/calibration.json",
}
# Stops nothing, but with a stop string every tier writes for itself.
ANEW = {"stop": ["#"]}
HIGH = 0.5
GREEDY = {"temperature": 0, "max_new_tokens": 128}


def begin(folder: Path, routing: dict[str, Any], args: dict[str, Any], *keys: str) -> Server:
    """The demo's three tiers, with these files of theirs besides."""
    cascade = yaml.safe_load((ROOT / CASCADE[-1]).read_text())
    cascade["routing"] = {"early_abort": None, **routing}
    cascade["tiers"].insert(1, dict(MIDDLE))
    for tier in cascade["tiers"]:
        tier["server_args"] = {"max_total_tokens": 65536, **args}
        if tier["name"] in keys:
            tier["draft_calibration"] = f"demo/{tier['name']}.draft.json"
    path = folder / "cascade.yaml"
    path.write_text(yaml.safe_dump(cascade))
    return start(folder, *CASCADE[:-1], str(path), "--enable-metrics")


@dataclass(frozen=True)
class Setting:
    """How the three tiers read drafts: the routing, their flags, and whose judge rates drafts."""

    routing: dict[str, Any]
    args: dict[str, Any]
    second_judges: tuple[str, ...] = ()


ONE_BY_ONE = Setting({"thresholds": [0.9, 0.9], "drafts": "on"}, {})
# No answer of the small tier is good enough by itself; what larger tiers make of it may be.
# A client's threshold leaves the second judge out.
CONFIRMING = Setting(
    {"thresholds": [1.0, 1.0], "drafts": {"use": "on", "second_judge": HIGH}},
    {"page_size": 16, "chunked_prefill_size": 32},
    ("middle",),
)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(ONE_BY_ONE, id="one-by-one"),
        pytest.param(CONFIRMING, id="pages-and-chunks"),
    ],
)
def reading(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Three tiers that read drafts: whole, or page by page and chunk by chunk."""
    setting: Setting = request.param
    folder = tmp_path_factory.mktemp("drafts")
    server = begin(folder, setting.routing, setting.args, *setting.second_judges)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


def generate(server: Server, text: str, headers: dict[str, str], **params: Any) -> dict[str, Any]:
    body = {"text": text, "sampling_params": {**GREEDY, **params}}
    with server.client() as client:
        answer: dict[str, Any] = client.post("/generate", json=body, headers=headers).json()
    return answer


def all_of(server: Server, headers: dict[str, str], **params: Any) -> list[dict[str, Any]]:
    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(lambda text: generate(server, text, headers, **params), PROMPTS))


def output_of(answer: dict[str, Any]) -> tuple[Any, ...]:
    meta = answer["meta_info"]
    usage = (meta["prompt_tokens"], meta["completion_tokens"])
    return answer["text"], answer["output_ids"], meta["finish_reason"], usage


def last(answer: dict[str, Any]) -> dict[str, Any]:
    attempt: dict[str, Any] = answer["meta_info"]["cascadia"]["attempts"][-1]
    return attempt


def test_the_answer_is_the_larger_tiers_own(reading: Server) -> None:
    alone = all_of(reading, ALONE)
    before = reading.status()["tiers"][2]["drafts"]
    read = []
    for _ in range(2):  # the second time, prompts and answers are cached
        climbed = all_of(reading, CLIMBS)
        assert [output_of(answer) for answer in climbed] == [output_of(answer) for answer in alone]
        # A score of exactly 1 is accepted, of whatever tier.
        read += [last(answer) for answer in climbed if last(answer)["tier"] == "large"]
    assert {attempt["reason"] for attempt in read} == {"verified", "last_tier"}
    drafts = reading.status()["tiers"][2]["drafts"]
    assert drafts["read"] - before["read"] == len(read)
    kept_tokens = sum(attempt["kept"] for attempt in read)
    assert drafts["kept_tokens"] - before["kept_tokens"] == kept_tokens > 0


def test_the_judge_says_the_same_of_an_answer_that_began_with_a_draft(reading: Server) -> None:
    anew = all_of(reading, CLIMBS, **ANEW)
    climbed = all_of(reading, CLIMBS)
    apart = []
    # Of prompts that nobody asks, scores are in doubt and differ with every rounding.
    for from_scratch, from_draft in list(zip(anew, climbed, strict=True))[len(CHUNKED) :]:
        stories = [
            answer["meta_info"]["cascadia"]["attempts"] for answer in (from_scratch, from_draft)
        ]
        if min(map(len, stories)) == 1:
            continue
        first, second = (attempts[1] for attempts in stories)
        assert "kept" not in first
        assert second["kept"] >= 0
        apart.append(abs(second["score"] - first["score"]))
    # Prefill and decode round differently, which shows where an answer is in doubt.
    assert max(apart) < 0.1
    assert sum(apart) / len(apart) < 0.005


@pytest.mark.parametrize("most", [1, 7])
def test_a_limit_cuts_where_it_cuts_the_larger_tiers_own(reading: Server, most: int) -> None:
    alone = all_of(reading, ALONE, max_new_tokens=most)
    climbed = all_of(reading, CLIMBS, max_new_tokens=most)
    assert [output_of(answer) for answer in climbed] == [output_of(answer) for answer in alone]


def test_a_stream_begins_with_what_was_kept(reading: Server) -> None:
    row = LONG[0]
    alone = generate(reading, row.prompt, ALONE)
    body = {"text": row.prompt, "sampling_params": GREEDY, "stream": True}
    headers = {**CLIMBS, "x-cascadia-stream": "commit"}
    with reading.client() as client:
        streamed = client.post("/generate", json=body, headers=headers).text
    events = list(_events(streamed))
    assert output_of(events[-1]) == output_of(alone)
    kept_tokens = last(events[-1])["kept"]
    assert kept_tokens > 0
    assert events[0]["meta_info"]["completion_tokens"] >= kept_tokens + (
        kept_tokens < len(alone["output_ids"])
    )
    assert not any("cascadia_draft" in event["meta_info"] for event in events)


def _events(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line.removeprefix("data: "))


@pytest.mark.parametrize(
    "params",
    [{"temperature": 0.7}, {"n": 2}, {"stop": ["zz"]}, {"regex": "[0-9]+"}],
    ids=lambda params: next(iter(params)),
)
def test_what_a_draft_could_change_is_written_anew(reading: Server, params: Any) -> None:
    body = {"text": "add 12 34", "sampling_params": {**GREEDY, **params}}
    with reading.client() as client:
        reply = client.post("/generate", json=body, headers=CLIMBS).json()
    answer = reply[0] if isinstance(reply, list) else reply
    assert "kept" not in last(answer)
    assert last(answer)["tier"] == "large"


def test_log_probabilities_are_of_tokens_that_were_written(reading: Server) -> None:
    body = {"text": "add 12 34", "sampling_params": GREEDY, "return_logprob": True}
    with reading.client() as client:
        answer = client.post("/generate", json=body, headers=CLIMBS).json()
    assert "kept" not in last(answer)
    assert len(answer["meta_info"]["output_token_logprobs"]) == len(answer["output_ids"])


def test_nothing_is_left_of_what_was_taken_back(reading: Server) -> None:
    """SGLang counts its slots when it idles, and ends a worker that has lost one."""
    before = [worker["pids"] for worker in reading.status()["workers"]]
    all_of(reading, CLIMBS)
    with reading.client() as client:
        assert client.post("/flush_cache", params={"timeout": 20}).status_code == 200
        lines = client.get("/metrics").text.splitlines()
    kept_line = next(
        x for x in lines if x.startswith('cascadia_verify_kept_tokens_total{tier="large"}')
    )
    assert float(kept_line.split()[-1]) > 0
    assert [worker["pids"] for worker in reading.status()["workers"]] == before


# The second judge


confirming = pytest.mark.parametrize(
    "reading", [pytest.param(CONFIRMING, id="pages-and-chunks")], indirect=True
)


@confirming
def test_a_confirmed_draft_goes_out_as_the_small_tier_wrote_it(reading: Server) -> None:
    alone = all_of(reading, {"x-cascadia-tier": "small"})
    climbed = all_of(reading, {})
    confirmed = 0
    for small_answer, answer in zip(alone, climbed, strict=True):
        attempts = answer["meta_info"]["cascadia"]["attempts"]
        if len(attempts) == 1:
            continue  # a score of exactly 1
        _, middle, *later = attempts
        if middle["reason"] != "verified":
            assert middle.get("draft_score", 0.0) < HIGH
            assert [attempt["tier"] for attempt in later] == ["large"]
            continue
        confirmed += 1
        assert not later
        assert middle["score"] == middle["draft_score"] >= HIGH
        assert output_of(answer) == output_of(small_answer)
        assert middle["kept"] == len(small_answer["output_ids"])
        assert middle["tokens"] == 0
    assert confirmed > len(PROMPTS) / 4
    counts = reading.status()["tiers"][1]["drafts"]
    assert counts["confirmed"] == confirmed <= counts["verified"]


@confirming
def test_a_clients_threshold_holds_for_drafts_too(reading: Server) -> None:
    for answer in all_of(reading, CLIMBS):
        attempts = answer["meta_info"]["cascadia"]["attempts"]
        assert len(attempts) in (1, 3) or attempts[1]["score"] == 1.0


@confirming
def test_what_was_confirmed_leaves_nothing_behind(reading: Server) -> None:
    before = [worker["pids"] for worker in reading.status()["workers"]]
    all_of(reading, {})
    with reading.client() as client:
        assert client.post("/flush_cache", params={"timeout": 20}).status_code == 200
    assert [worker["pids"] for worker in reading.status()["workers"]] == before
