"""Traffic turns hard, and the real server moves a worker to the large tier by itself."""

import threading
import time
from pathlib import Path

import pytest

from bench.harness.client import Reply, send_at
from bench.reallocation.servers import asked, cascade, plan
from cascadia_sglang.controller.decision import replay_log
from demo.tasks.splits import sample
from tests.system.serving import free_port

pytestmark = [pytest.mark.sglang, pytest.mark.slow, pytest.mark.alone]

STEADY = Path("bench/reallocation/steady.json")
EASY, HARD = ("sort", "get"), ("add", "mul")
PER_S = 8.0


def traffic(families: tuple[str, ...], seconds: float, begin_s: float) -> tuple[list, list[float]]:
    count = int(PER_S * seconds)
    return asked(sample("test", 5, count, families)), [begin_s + i / PER_S for i in range(count)]


def test_it_moves_where_the_traffic_has_gone_and_no_request_is_lost(tmp_path: Path) -> None:
    """Three small workers and a large one; of the hard requests most need the large tier."""
    log = tmp_path / "decisions.jsonl"
    planner = {
        "enabled": True,
        "interval_s": 2.0,
        "objective": "path",
        "cooldown_s": 1.0,
        "log": str(log),
    }
    easy, easy_at = traffic(EASY, 26.0, 0.0)
    hard, hard_at = traffic(HARD, 35.0, 26.0)
    replies: list[Reply] = []
    with cascade(tmp_path, free_port(), 3, profile=STEADY, planner=planner) as port:
        before = plan(port)

        def ask() -> None:
            sent = send_at(port, easy + hard, easy_at + hard_at, width=1024, must_succeed=False)
            replies.extend(sent.replies)

        thread = threading.Thread(target=ask)
        thread.start()
        deadline = time.monotonic() + 90.0
        while plan(port)["number"] == before["number"]:
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.5)
        pools = plan(port)["pools"]
        thread.join()
    assert pools["large"]["replicas"] > before["pools"]["large"]["replicas"] == 1
    assert sum(pool["replicas"] for pool in pools.values()) == 4
    assert {reply.status for reply in replies} == {200}
    entries = replay_log(log.read_bytes())
    assert all(entry.decision == decision for entry, decision in entries)
    moves = [entry for entry, _ in entries if entry.decision.verdict == "move"]
    assert moves
    # Traffic began easy, and nothing was planned for while it stayed so.
    assert entries[0][0].decision.reason == "no_change"
    assert moves[0].situation.changes
