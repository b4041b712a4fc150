"""Capacity moves between the tiers of the real server while requests run, and none fails."""

import threading
import time

import httpx
import pytest

from tests.system.serving import Server

pytestmark = pytest.mark.sglang

TO_LARGE = {"tiers": {"small": {"replicas": 1}, "large": {"replicas": 2}}}
TO_SMALL = {"tiers": {"small": {"replicas": 2}, "large": {"replicas": 1}}}


@pytest.fixture
def server(fleet: Server) -> Server:
    return fleet


class Asking:
    """Threads that ask both tiers, one request after the other, until they are stopped."""

    def __init__(self, server: Server) -> None:
        self.statuses: list[int] = []
        self._server = server
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(threshold,)) for threshold in ("0", "1", "0.9")
        ]

    def __enter__(self) -> "Asking":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def more(self, count: int) -> None:
        """Wait for this many further answers."""
        target = len(self.statuses) + count
        deadline = time.monotonic() + 60
        while len(self.statuses) < target:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def _ask(self, threshold: str) -> None:
        params = {"temperature": 0, "max_new_tokens": 120}
        body = {"text": "steps 123456 654321", "sampling_params": params}
        with self._server.client() as client:
            while not self._stop.is_set():
                headers = {"x-cascadia-threshold": threshold}
                reply = client.post("/generate", json=body, headers=headers)
                self.statuses.append(reply.status_code)


def shape(admin: httpx.Client) -> dict[str, tuple[int, int]]:
    pools = admin.get("/cascadia/plan").json()["pools"]
    return {name: (pool["replicas"], pool["tp_size"]) for name, pool in pools.items()}


def test_a_dry_run_says_what_would_be_done(admin: httpx.Client) -> None:
    plan = admin.post("/cascadia/plan", json={**TO_LARGE, "dry_run": True}).json()
    assert [action["type"] for action in plan["actions"]] == ["start", "drain", "stop"]
    assert [action["replica"]["pool"] for action in plan["actions"]] == ["large", "small", "small"]
    assert shape(admin) == {"small": (2, 1), "large": (1, 1)}


def metric(admin: httpx.Client, name: str) -> float:
    lines = admin.get("/metrics/").text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def test_capacity_moves_there_and_back_and_no_request_fails(
    server: Server, admin: httpx.Client
) -> None:
    number = admin.get("/cascadia/plan").json()["number"]
    moves = metric(admin, "cascadia_reallocation_seconds_count")
    with Asking(server) as asking:
        for body, small, large in ((TO_LARGE, 1, 2), (TO_SMALL, 2, 1)):
            moved = admin.post("/cascadia/plan", json={**body, "thresholds": [0.8]})
            assert moved.status_code == 200, moved.text
            assert shape(admin) == {"small": (small, 1), "large": (large, 1)}
            steps = moved.json()["last_move"]["steps"]
            assert [step["type"] for step in steps][:3] == ["start", "drain", "stop"]
            ready = [w["tiers"][0] for w in server.status()["workers"] if w["state"] == "ready"]
            assert sorted(ready) == ["large"] * large + ["small"] * small
            asking.more(6)
    assert set(asking.statuses) == {200}
    assert admin.get("/cascadia/plan").json()["planner"]["window"]["arrivals_per_s"] > 0
    assert server.status()["thresholds"] == [0.8]
    assert server.status()["plan_number"] == number + 2
    assert metric(admin, "cascadia_plan_number") == number + 2
    assert metric(admin, "cascadia_reallocation_seconds_count") == moves + 2


def test_a_tier_goes_from_one_rank_to_two_and_back_while_it_answers(
    server: Server, admin: httpx.Client
) -> None:
    """On two devices beside it, so it starts before the other ends."""
    body = {"text": "rev hgfa", "sampling_params": {"temperature": 0, "max_new_tokens": 8}}
    one_small = {"small": {"replicas": 1}}
    with Asking(server) as asking:
        for ranks in (2, 1):
            plan = {"tiers": {**one_small, "large": {"replicas": 1, "tp_size": ranks}}}
            assert admin.post("/cascadia/plan", json=plan).status_code == 200
            (large,) = [w for w in server.status()["workers"] if w["tiers"] == ["large"]]
            assert len(large["pids"]) == ranks
            reply = admin.post("/generate", json=body, headers={"x-cascadia-tier": "large"})
            assert reply.json()["text"] == "afgh"
            asking.more(3)
    assert set(asking.statuses) == {200}


def test_what_cannot_be_carried_out_is_refused_and_changes_nothing(
    server: Server, admin: httpx.Client
) -> None:
    before = shape(admin)
    for body, status, message in (
        ({"tiers": {"small": {"replicas": 9}}}, 409, "devices are needed, there are 4"),
        ({"tiers": {"large": {"replicas": 0}}}, 409, "the last tier needs"),
        ({"tiers": {"huge": {"replicas": 1}}}, 400, "small, large"),
        ({"tiers": {"small": {"replicas": -1}}}, 400, "0 to 64"),
        ({"tiers": {}, "thresholds": [2]}, 400, "0 to 1"),
        ({"tier": {}}, 400, "tier"),
    ):
        refused = admin.post("/cascadia/plan", json=body)
        assert (refused.status_code, body) == (status, body), refused.text
        assert message in refused.json()["error"]["message"]
    assert shape(admin) == before
    with server.client() as stranger:
        assert stranger.post("/cascadia/plan", json=TO_LARGE).status_code == 401


def test_a_worker_that_is_taken_away_is_not_started_again(
    server: Server, admin: httpx.Client
) -> None:
    assert admin.post("/cascadia/plan", json=TO_SMALL).status_code == 200
    with Asking(server) as asking:
        moved = admin.post("/cascadia/workers", json={"tier": "small", "replicas": 1})
        assert moved.status_code == 200, moved.text
        asking.more(6)
        assert shape(admin) == {"small": (1, 1), "large": (1, 1)}
    assert set(asking.statuses) == {200}
    assert len(server.status()["workers"]) == 2
