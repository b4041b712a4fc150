"""Recording: what is asked, what is kept, and that a run goes on where another stopped."""

import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cascadia_sglang.calibration.record import recording
from cascadia_sglang.calibration.record.questions import (
    Sampling,
    ask,
    ask_drafts,
    digest_of,
    draft_digest,
    message_text,
    request_of,
)
from cascadia_sglang.calibration.record.recording import RecordingServer, missing
from cascadia_sglang.calibration.record.records import DraftRecord, Record, RecordFile
from cascadia_sglang.calibration.record.sample import Question
from cascadia_sglang.config.settings import TierConfig
from cascadia_sglang.errors import CalibrationError
from cascadia_sglang.judge.features import FEATURES

TIER = TierConfig(name="small", model_path="m")
SAMPLING = Sampling(temperature=0.0, max_tokens=16)
RECORD = {"tokens": [2, 3], "features": [[0.5] * len(FEATURES)] * 2}


class Recorder(BaseHTTPRequestHandler):
    """Answers as a recording server does; a prompt "bad" is refused, "lost" breaks the line."""

    protocol_version = "HTTP/1.1"
    asked: list[tuple[str, str, dict]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        type(self).asked.append((self.path, self.headers["x-cascadia-tier"], body))
        hidden = {"hidden": b64encode(b"state").decode()} if body.get("text") == "deep" else {}
        attempts = [{"tier": "small", "tokens": 4, "record": {**RECORD, **hidden}}]
        if self.headers["x-cascadia-tier"] is None:
            draft = {"record": {**RECORD, "draft": [0.25] * len(FEATURES)}, "kept": 1}
            attempts.append({"tier": "middle", "tokens": 4, **draft})
            # Two of the five tokens of the middle one's answer; it was cut off.
            attempts.append({"tier": "large", "tokens": 3, "kept": 2, "record": RECORD})
        meta = {"cascadia": {"tier_index": 0, "attempts": attempts, "prompt_ids": [7, 8]}}
        if body.get("text") == "lost":
            self.close_connection = True
            return
        if self.path == "/generate":
            reply = {"text": f"to {body['text']}", "meta_info": meta}
        else:
            reply = {"choices": [{"message": {"content": "chatted"}, "meta_info": meta}]}
        is_bad = body.get("text") == "bad"
        content = json.dumps({"error": "too long"} if is_bad else reply).encode()
        self.send_response(400 if is_bad else 200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    Recorder.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def texts(*prompts: str) -> list[Question]:
    return [Question(id=prompt, prompt=prompt) for prompt in prompts]


def record(port: int, questions: list[Question], path: Path) -> list[str]:
    with RecordFile(path, Record) as file:
        found = recording.record(
            RecordingServer(port=port, concurrency=3, timeout_s=10.0),
            questions,
            lambda connection, question: [ask(connection, question, TIER, SAMPLING)],
            file,
            "small",
        )
    return [one.text for one in found]


def test_every_answer_is_kept_and_pinned_to_its_tier(port: int, tmp_path: Path) -> None:
    chat = Question(id="chat", messages=[{"role": "user", "content": "x"}])
    path = tmp_path / "records.jsonl"
    answers = record(port, [*texts("a", "b", "c", "d"), chat], path)
    assert sorted(answers) == ["chatted", "to a", "to b", "to c", "to d"]
    assert {tier for _, tier, _ in Recorder.asked} == {"small"}
    (kept,) = [one for one in RecordFile(path, Record).load().values() if one.id == "a"]
    assert (kept.tokens, kept.features) == (RECORD["tokens"], RECORD["features"])
    assert kept.seconds > 0


def test_an_interrupted_run_asks_for_what_is_missing(port: int, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    questions = texts("a", "b", "c")
    record(port, questions[:2], path)
    known = RecordFile(path, Record).load()
    assert missing(questions, TIER, SAMPLING, known) == questions[2:]
    warmer = Sampling(temperature=0.5, max_tokens=16)
    assert missing(questions, TIER, warmer, known) == questions
    other = TierConfig(name="small", model_path="other")
    assert missing(questions, other, SAMPLING, known) == questions


def test_an_answer_without_its_hidden_state_is_asked_again_where_that_is_needed(
    port: int, tmp_path: Path
) -> None:
    path = tmp_path / "records.jsonl"
    plain, deep = questions = texts("plain", "deep")
    record(port, questions, path)
    known = RecordFile(path, Record).load()
    assert [one.hidden for one in known.values() if one.id == "deep"] == [b"state"]
    assert missing(questions, TIER, SAMPLING, known) == []
    assert missing(questions, TIER, SAMPLING, known, needs_hidden=True) == [plain]
    assert missing([deep], TIER, SAMPLING, known, needs_hidden=True) == []


def test_a_refused_question_is_named_and_left_out(port: int, tmp_path: Path, capsys) -> None:
    path = tmp_path / "records.jsonl"
    assert sorted(record(port, texts("a", "bad", "b"), path)) == ["to a", "to b"]
    assert "left out: question 'bad', tier small: 400" in capsys.readouterr().err
    assert missing(texts("bad"), TIER, SAMPLING, RecordFile(path, Record).load()) == texts("bad")


def test_a_lost_server_ends_the_run_and_keeps_what_came(port: int, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    with pytest.raises(CalibrationError, match="the server was lost"):
        record(port, texts("a", "b", "lost"), path)
    assert len(RecordFile(path, Record).load()) == 2


def test_one_request_tells_what_every_tier_makes_of_the_draft_before(
    port: int, tmp_path: Path
) -> None:
    tiers = [TierConfig(name=name, model_path=name) for name in ("small", "middle", "large", "top")]
    path = tmp_path / "drafts.jsonl"
    with RecordFile(path, DraftRecord) as file:
        recording.record(
            RecordingServer(port=port, concurrency=1, timeout_s=10.0),
            texts("a"),
            lambda connection, question: ask_drafts(connection, question, tiers, SAMPLING),
            file,
            "drafts",
        )
    assert Recorder.asked[0][1] is None
    found = list(RecordFile(path, DraftRecord).load().values())
    assert [(one.tier, one.kept) for one in found] == [
        ("middle", 0.25),
        ("large", 0.4),
        ("top", None),
    ]
    assert [one.features for one in found] == [[0.25] * len(FEATURES), None, None]
    assert [one.asked for one in found] == [
        draft_digest(texts("a")[0], tiers[:count], SAMPLING) for count in (2, 3, 4)
    ]
    changed = [TierConfig(name="small", model_path="other"), *tiers[1:]]
    assert draft_digest(texts("a")[0], changed, SAMPLING) != found[-1].asked


def test_a_constraint_travels_as_each_route_names_it() -> None:
    schema = {"json_schema": '{"type": "object"}'}
    _, native = request_of(Question(id="1", prompt="x", constraint=schema), SAMPLING)
    assert native["sampling_params"]["json_schema"] == schema["json_schema"]
    chat = [{"role": "user", "content": "x"}]
    _, body = request_of(Question(id="1", messages=chat, constraint=schema), SAMPLING)
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    _, body = request_of(Question(id="1", messages=chat, constraint={"regex": "a"}), SAMPLING)
    assert body["regex"] == "a"


def test_tools_travel_with_a_chat_and_calls_are_its_answer() -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
    messages = [{"role": "user", "content": "x"}]
    question = Question(id="1", messages=messages, tools=tools, tool_choice="auto")
    path, body = request_of(question, SAMPLING)
    assert path == "/v1/chat/completions"
    assert (body["tools"], body["tool_choice"]) == (tools, "auto")
    plain = Question(id="1", messages=messages)
    assert "tools" not in request_of(plain, SAMPLING)[1]
    assert digest_of(question, TIER, SAMPLING) != digest_of(plain, TIER, SAMPLING)


def test_equal_calls_are_equal_texts() -> None:
    def called(arguments: str, content: str | None = None) -> str:
        function = {"name": "weather", "arguments": arguments}
        return message_text({"content": content, "tool_calls": [{"function": function}]})

    assert called('{"city": "Rome", "day": 1}') == called('{"day":1,"city":"Rome"}')
    assert called('{"city": "Rome"}') != called('{"city": "Oslo"}')
    assert called("{}", "Let me see.") == 'Let me see.\n{"arguments": {}, "name": "weather"}'
    assert called("{no json") == '{"arguments": "{no json", "name": "weather"}'
    assert message_text({"content": "warm", "tool_calls": None}) == "warm"
    assert message_text({"content": None}) == ""


def test_a_digest_tells_what_shapes_an_answer_apart() -> None:
    base = Question(id="1", prompt="x")
    same = Question(id="2", prompt="x", reference="y", group="g")
    assert digest_of(base, TIER, SAMPLING) == digest_of(same, TIER, SAMPLING)
    suffixed = TierConfig(name="small", model_path="m", prompt_suffix="s")
    others = [
        digest_of(Question(id="1", prompt="z"), TIER, SAMPLING),
        digest_of(base, suffixed, SAMPLING),
        digest_of(base, TIER, Sampling(temperature=0.0, max_tokens=17)),
    ]
    assert digest_of(base, TIER, SAMPLING) not in others
