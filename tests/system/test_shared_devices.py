"""Tiers that name one device, on a host, where devices are numbers: they move as one."""

from pathlib import Path

import httpx
import pytest

from tests.system.serving import ROOT, Server, start

pytestmark = [pytest.mark.sglang, pytest.mark.slow]

KEY = "shared-devices"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("shared")
    text = (ROOT / "tests" / "system" / "cascade.yaml").read_text()
    for name in ("small", "large"):
        text = text.replace(f"- name: {name}", f"- name: {name}\n    devices: [5]")
    file: Path = folder / "cascade.yaml"
    file.write_text(text)
    arguments = ("--plugin", "cascadia", "--cascade-config", str(file), "--admin-api-key", KEY)
    started = start(folder, *arguments)
    try:
        started.wait_until_ready()
        yield started
    finally:
        started.stop()


def plan(client: httpx.Client, **replicas: int) -> httpx.Response:
    wanted = {name: {"replicas": count} for name, count in replicas.items()}
    headers = {"Authorization": f"Bearer {KEY}"}
    return client.post("/cascadia/plan", json={"tiers": wanted}, headers=headers)


def lies(client: httpx.Client) -> dict[str, list[int]]:
    told = client.get("/cascadia/plan", headers={"Authorization": f"Bearer {KEY}"}).json()
    found: dict[str, list[int]] = {}
    for replica in told["replicas"]:
        found.setdefault(replica["pool"], []).append(replica["base_gpu_id"])
    return found


def test_a_block_moves_whole_and_is_not_split(server: Server) -> None:
    with server.client(240) as client:
        assert lies(client) == {"small": [5], "large": [5]}
        refused = plan(client, small=2)
        assert refused.status_code == 409
        assert "share devices, so their replicas change together" in refused.text
        grown = plan(client, small=2, large=2)
        assert grown.status_code == 200, grown.text
        places = lies(client)
        assert sorted(places["small"]) == sorted(places["large"])
        assert len(set(places["small"])) == 2
        answer = client.post(
            "/v1/chat/completions",
            json={"model": "cascadia", "messages": [{"role": "user", "content": "add 12 34"}]},
        )
        assert answer.status_code == 200
        assert plan(client, small=1, large=1).status_code == 200
        assert {pool: len(own) for pool, own in lies(client).items()} == {"small": 1, "large": 1}
