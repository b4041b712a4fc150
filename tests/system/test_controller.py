"""Traffic turns hard, and the real server moves a worker to the large tier by itself."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.harness.client import Round, send_at
from bench.reallocation.servers import cascade, plan, requests_of
from cascadia_sglang.controller.decision import replay_log
from demo.tasks.splits import sample
from tests.system.serving import free_port

pytestmark = [pytest.mark.sglang, pytest.mark.slow, pytest.mark.alone]

STEADY = Path("bench/reallocation/steady.json")
EASY, HARD = ("sort", "get"), ("add", "mul")
PER_S = 8
EASY_S = 20
HARD_S = 90  # at most: the traffic ends once the worker has moved
AFTERWARDS_S = 3


def traffic(families: tuple[str, ...], seconds: int) -> list[list[bytes]]:
    """Requests of every second."""
    requests = requests_of(sample("test", 5, PER_S * seconds, families))
    return [requests[i : i + PER_S] for i in range(0, len(requests), PER_S)]


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
    easy, hard = traffic(EASY, EASY_S), iter(traffic(HARD, HARD_S))
    sent: list[Future[Round]] = []
    with (
        cascade(tmp_path, free_port(), 3, profile=STEADY, planner=planner) as port,
        ThreadPoolExecutor(EASY_S + HARD_S) as threads,
    ):
        before = plan(port)
        began = time.monotonic()

        def send_for_a_second(requests: list[bytes]) -> None:
            at_s = [i / PER_S for i in range(PER_S)]
            sent.append(threads.submit(send_at, port, requests, at_s, must_succeed=False))
            time.sleep(max(0.0, began + len(sent) - time.monotonic()))

        for requests in easy:
            send_for_a_second(requests)
        while plan(port)["number"] == before["number"]:
            requests = next(hard, [])
            assert requests, log.read_text()[-3000:]
            send_for_a_second(requests)
        pools = plan(port)["pools"]
        for _ in range(AFTERWARDS_S):
            send_for_a_second(next(hard))
        replies = [reply for each in sent for reply in each.result().replies]
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
