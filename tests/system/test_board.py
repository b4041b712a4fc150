"""The board's queries and the alerts, on a real Prometheus that scrapes a real server."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.repo.source import ROOT
from tests.system.serving import Server, free_port
from tests.unit.deploy.board import load_board, queries

PROMETHEUS = shutil.which("prometheus")
pytestmark = [
    pytest.mark.sglang,
    pytest.mark.slow,
    pytest.mark.skipif(
        PROMETHEUS is None,
        reason="prometheus is not installed (Debian: apt-get install prometheus)",
    ),
]

# Panels that are empty on this server, and why.
EMPTY = {
    "Errors per second, by status": "no request fails before the test",
    "Plans": "no plan is made meanwhile",
    "Agreement with the last tier": "nothing is shadowed",
}


@pytest.fixture(scope="module")
def prometheus(fleet: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a Prometheus that has scraped the server between answers."""
    folder: Path = tmp_path_factory.mktemp("prometheus")
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ROOT / "deploy/prometheus/alerts.yaml")],
        "scrape_configs": [
            {
                "job_name": "cascadia",
                "static_configs": [{"targets": [f"127.0.0.1:{fleet.port}"]}],
            }
        ],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                str(PROMETHEUS),
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            _wait_until_ready(client, process)
            with fleet.client() as asking:
                for _ in range(3):
                    for text in ("rev abcd", "mul 987 6", "steps 98765 43210"):
                        body = {
                            "text": text,
                            "sampling_params": {"temperature": 0, "max_new_tokens": 24},
                        }
                        asking.post("/generate", json=body)
                    _wait_for_scrapes(client, 2)
            yield client
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _wait_until_ready(client: httpx.Client, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, "prometheus ended"
        try:
            if client.get("/-/ready").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    pytest.fail("prometheus is not ready")


def _wait_for_scrapes(client: httpx.Client, more: int) -> None:
    """Prometheus may take five seconds before it scrapes a new target for the first time."""
    enough = _scrapes(client) + more
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if _scrapes(client) >= enough:
            return
        time.sleep(0.2)
    pytest.fail(f"prometheus has not scraped the server {more} times within 30 s")


def _scrapes(client: httpx.Client) -> int:
    succeeded = query_result(client, "sum_over_time(up[1h])")
    return int(succeeded[0]["value"][1]) if succeeded else 0


def query_result(client: httpx.Client, query: str) -> list[dict]:
    answer = client.get("/api/v1/query", params={"query": query}).json()
    assert answer["status"] == "success", (query, answer.get("error"))
    return answer["data"]["result"]


def test_every_query_of_the_board_is_answered(prometheus: httpx.Client) -> None:
    empty = {name for name, query in queries(load_board()) if not query_result(prometheus, query)}
    assert empty <= EMPTY.keys()


def test_the_board_shows_the_tiers_and_their_workers(prometheus: httpx.Client) -> None:
    by_panel = dict(queries(load_board()))
    answers = query_result(prometheus, by_panel["Answers per second, by tier"])
    assert {series["metric"]["tier"] for series in answers} >= {"small", "large"}
    shares = query_result(prometheus, by_panel["Share of answers, by tier"])
    assert sum(float(series["value"][1]) for series in shares) == pytest.approx(1.0)
    running = query_result(prometheus, by_panel["Running requests, by worker"])
    assert {series["metric"]["tier"] for series in running} == {"small", "large"}


def test_the_alerts_are_loaded_and_a_healthy_server_fires_none(prometheus: httpx.Client) -> None:
    rules = prometheus.get("/api/v1/rules").json()["data"]["groups"][0]["rules"]
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []
