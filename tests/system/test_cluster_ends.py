"""What is left when a server with workers elsewhere ends, and starts that are refused."""

import importlib.util
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.system.ray_machines import RayMachines, two_machines
from tests.system.serving import CASCADE, ROOT, free_port, gone, start

pytestmark = [
    pytest.mark.sglang,
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed"),
]


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayMachines]:
    with two_machines(tmp_path_factory.mktemp("ray")) as machines:
        yield machines


def cascade_file(folder: Path, **cluster: Any) -> str:
    cascade = yaml.safe_load((ROOT / CASCADE[-1]).read_text())
    cascade["cluster"] = {"nodes": 1, "gpus_per_node": 1, "private_network": True, **cluster}
    path = folder / "cascade.json"
    path.write_text(json.dumps(cascade))
    return str(path)


@pytest.mark.parametrize(("number", "within_s"), [(signal.SIGTERM, 10.0), (signal.SIGKILL, 30.0)])
def test_nothing_is_left_anywhere_when_the_server_ends(
    machines: RayMachines, tmp_path: Path, number: signal.Signals, within_s: float
) -> None:
    path = cascade_file(tmp_path, ray=machines.address)
    server = start(tmp_path, *CASCADE[:-1], path, environment=machines.environment)
    try:
        server.wait_until_ready()
        others = [p for m in machines.machines for p in (*m.agents(), *m.workers())]
        assert len(others) == 2
        family = server.family()
        began = time.monotonic()
        server.process.send_signal(number)
        server.process.wait(within_s)
        assert gone([*others, *family], within_s - (time.monotonic() - began)) == []
    finally:
        server.stop()


def refused(folder: Path, machines: RayMachines | None, **cluster: Any) -> tuple[str, float]:
    """The one line with which a server with this cluster does not start, and its seconds."""
    arguments = (*CASCADE[:-1], cascade_file(folder, **cluster), "--port", str(free_port()))
    server = start(
        folder, *arguments[:-2], environment=None if machines is None else machines.environment
    )
    began = time.monotonic()
    try:
        assert server.process.wait(60) == 2
    finally:
        server.stop()
    lines = [line for line in server.log.read_text().splitlines() if "cascadia: error" in line]
    (line,) = lines
    return line, time.monotonic() - began


def test_a_cluster_that_cannot_be_used_is_one_line(machines: RayMachines, tmp_path: Path) -> None:
    port = free_port()
    line, _ = refused(tmp_path, None, ray=f"127.0.0.1:{port}")
    assert f"no Ray head answers at 127.0.0.1:{port}" in line
    line, _ = refused(tmp_path, machines, ray=machines.address, nodes=3)
    assert "has 1 machines besides this host, cluster.nodes is 3" in line
    line, _ = refused(tmp_path, machines, ray=machines.address, private_network=False)
    assert "cluster.private_network is false" in line
