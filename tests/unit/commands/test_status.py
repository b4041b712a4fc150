"""`cascadia status` against servers that answer in every way."""

import http.server
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from cascadia_sglang.capacity.types import RunningPlan
from cascadia_sglang.cli import main
from cascadia_sglang.commands.status import lines, watch
from cascadia_sglang.config.voices import Voices
from cascadia_sglang.errors import StatusError
from cascadia_sglang.fleet.event_feeds import EventFeeds
from cascadia_sglang.http.status import status
from cascadia_sglang.pool.pool import WritablePool
from cascadia_sglang.prefix.cached_prefixes import HeldPrefixes
from cascadia_sglang.testing.engine import FakeEngine, make_cascade
from cascadia_sglang.testing.services import make_router
from tests.unit.controller.fakes import CLUSTER

CONFIG = make_cascade("small", "large")
VOICES = Voices.single(["small", "large"])
PLAN = RunningPlan(replicas=(), thresholds=())
MOVER = SimpleNamespace(number=3, cluster=CLUSTER, running=lambda: PLAN)
COUNTS = {"effective_labels": 42.3, "needed": 300.0}
PREFIXES = EventFeeds(HeldPrefixes()).summary()
ROUTER = make_router(CONFIG, FakeEngine())
STATUS = status(CONFIG, WritablePool(), ROUTER, MOVER, PREFIXES, 0, VOICES)


@contextmanager
def serving(code: int, content: bytes) -> Iterator[tuple[str, list[Any]]]:
    """A server that says this to everything; its address and what it was asked."""
    requests: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append((self.path, self.headers.get("authorization")))
            self.send_response(code)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing on stderr: a test looks at it."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_server_is_asked_with_the_key(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(200, json.dumps(STATUS).encode()) as (url, requests):
        assert main(["status", "--url", url + "/", "--api-key", "k", "--json"]) == 0
    assert requests == [("/cascadia/status", "Bearer k")]
    assert json.loads(capsys.readouterr().out) == STATUS


def test_host_and_port_are_enough(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(200, json.dumps(STATUS).encode()) as (url, requests):
        assert main(["status", "--url", url.removeprefix("http://"), "--json"]) == 0
    assert requests == [("/cascadia/status", None)]
    assert json.loads(capsys.readouterr().out) == STATUS


@pytest.mark.parametrize(
    ("code", "content", "message"),
    [
        (401, b"", "--api-key"),
        (404, b"", "no cascade"),
        (500, b"", "500"),
        (200, b"<html>", "does not answer"),
        (200, b"[]", "as a cascade"),
    ],
)
def test_any_other_answer_is_one_line_and_code_2(
    code: int, content: bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(code, content) as (url, _):
        assert main(["status", "--url", url]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert url in captured.err
    assert message in captured.err


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "ftp://127.0.0.1"])
def test_nobody_there_is_one_line_and_code_2(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--url", url]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_reader_sees_tiers_thresholds_workers_and_what_is_wrong() -> None:
    tiers = [
        {**tier, "judge_errors": 3 * (number == 0)} for number, tier in enumerate(STATUS["tiers"])
    ]
    worker = {"id": "small-0", "tiers": ["small"], "state": "ready", "pids": [7], "running": 5}
    table = list(lines({**STATUS, "tiers": tiers, "workers": [worker], "bypassed": ["large"]}))
    threshold = f"{STATUS['tiers'][0]['threshold']:.4f}"
    assert [line.split()[0] for line in table[:5]] == [
        "tier",
        "small",
        "large",
        "worker",
        "small-0",
    ]
    assert threshold in table[1]
    assert "3 errors" in table[1]
    assert "bypassed" in table[2]
    assert table[4].split()[1:] == ["ready", "5", "small"]
    assert table[5] == "plan 3, gear 0, 0 on their way"


def test_a_reader_sees_the_rate_that_is_kept() -> None:
    config = make_cascade("small", "large", escalation_rate=0.25)
    router = make_router(config, FakeEngine())
    report = status(config, WritablePool(), router, MOVER, PREFIXES, 0, VOICES)
    assert report["tiers"][0]["judge"] == "on"
    assert report["tiers"][0]["calibrated"] is False
    assert report["tiers"][0]["escalation_rate"] == 0.25
    assert report["tiers"][0]["recent_escalation_rate"] is None
    assert report["tiers"][1]["threshold"] is None
    assert list(lines(report))[1].endswith("on, ranked, 0.25 escalate")
    router.services.scores.note(0, 0.5, climbed=True)
    later = status(config, WritablePool(), router, MOVER, PREFIXES, 0, VOICES)
    assert later["tiers"][0]["recent_escalation_rate"] == 1.0
    assert list(lines(later))[1].endswith("on, ranked, 0.25 escalate, 1.00 of the last")


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ({"state": "collecting", "bound": None}, "collecting: 42 of 300 effective labels"),
        (
            {"state": "fitted", "bound": {"disagree_at_most": 0.0812, "accepted": 90}},
            "fitted: the last tier disagrees with at most 8.1% of the accepted (n = 90)",
        ),
        (
            {"state": "fitted", "bound": {"disagree_at_most": None, "accepted": 9}},
            "fitted: 42 of 300 effective labels",
        ),
    ],
)
def test_a_tier_that_calibrates_itself_says_how_far_it_is(
    counts: dict[str, Any], line: str
) -> None:
    tier = {**STATUS["tiers"][0], "self_calibration": {**COUNTS, **counts}}
    shown = "\n".join(lines({**STATUS, "tiers": [tier, STATUS["tiers"][1]]}))
    assert line in shown


class StoppedError(Exception):
    """Ends a watch."""


def watched(*answers: dict[str, Any] | StatusError, as_json: bool = False) -> None:
    """Watch a server that gives these answers, a second apart."""
    remaining, now = list(answers), [0.0]

    def read() -> dict[str, Any]:
        if not remaining:
            raise StoppedError
        answer = remaining.pop(0)
        if isinstance(answer, StatusError):
            raise answer
        return answer

    def sleep(seconds: float) -> None:
        now[0] += seconds

    with pytest.raises(StoppedError):
        watch(read, as_json=as_json, clock=lambda: now[0], sleep=sleep)


def answered_by_small(count: int) -> dict[str, Any]:
    small, large = STATUS["tiers"]
    return {**STATUS, "tiers": [{**small, "answered": count}, large]}


def test_a_watch_shows_the_table_again_with_rates(capsys: pytest.CaptureFixture[str]) -> None:
    watched(answered_by_small(5), answered_by_small(12))
    output = capsys.readouterr().out
    assert output.count("threshold") == 2
    assert "\x1b" not in output
    assert output.rstrip().endswith("answers per second: small 7.0, large 0.0")


def test_a_watch_goes_on_where_the_server_does_not_answer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    watched(answered_by_small(5), StatusError("no answer"), answered_by_small(9))
    captured = capsys.readouterr()
    assert captured.err == "no answer\n"
    assert captured.out.rstrip().endswith("small 2.0, large 0.0")


def test_a_terminal_gets_one_table_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    watched(answered_by_small(5), answered_by_small(5))
    assert terminal.getvalue().count("\x1b[H\x1b[J") == 2


def test_a_watch_as_json_is_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    watched(answered_by_small(5), answered_by_small(6), as_json=True)
    reports = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [report["tiers"][0]["answered"] for report in reports] == [5, 6]


def test_a_watch_of_a_server_that_never_answered_ends() -> None:
    def read() -> dict[str, Any]:
        raise StatusError("no answer")

    with pytest.raises(StatusError):
        watch(read)
