"""What nodes are told of a server."""

import argparse
import pickle
from pathlib import Path

import msgspec
import pytest

from cascadia_sglang.cluster.orders import driver_order, node_order
from cascadia_sglang.cluster.versions import check_versions, versions_here
from cascadia_sglang.config.cascade_file import load_cascade
from cascadia_sglang.config.cluster_settings import ClusterConfig
from cascadia_sglang.config.pool_specs import pool_specs
from cascadia_sglang.errors import ConfigError
from tests.repo.source import ROOT

FLAGS = argparse.Namespace(plugin="cascadia", log_level="info", chat_template=None)
CLUSTER = ClusterConfig(ray="auto", nodes=2, gpus_per_node=4, private_network=True)


def test_models_have_absolute_paths_and_small_files_travel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    config = load_cascade(Path("tests/system/cascade.yaml"))
    order = node_order(config, FLAGS, {0}, "tcp://a:1", ("tcp://a:2", "tcp://a:2"))
    order = pickle.loads(pickle.dumps(order))
    small, large = order.config.tiers
    assert Path(small.model_path) == ROOT / "demo/models/small"
    assert Path(large.model_path).is_absolute()
    calibration = ROOT / "demo/models/small/calibration.json"
    assert order.files == {small.calibration: calibration.read_bytes()}
    # What a cache holds does not cross the network.
    assert order.config.prefix.events == "off"
    assert order.namespace.plugin is None
    assert FLAGS.plugin == "cascadia"
    assert [pool.name for pool in pool_specs(order.config)] == ["small", "large"]
    assert order.probed == {0}


def test_the_name_of_a_model_on_the_hub_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = load_cascade(Path("tests/system/cascade.yaml"))
    tiers = [msgspec.structs.replace(config.tiers[0], model_path="owner/model"), config.tiers[1]]
    config = msgspec.structs.replace(config, tiers=tiers)
    order = node_order(config, FLAGS, set(), "tcp://a:1", ("tcp://a:2", "tcp://a:2"))
    assert order.config.tiers[0].model_path == "owner/model"


def test_agents_get_the_part_of_the_environment_that_is_not_of_this_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SGLANG_TEST_WORD", "1")
    monkeypatch.setenv("SGLANG_HOST_IP", "10.0.0.1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    order = driver_order(CLUSTER)
    assert order.agent.environment["SGLANG_TEST_WORD"] == "1"
    assert order.agent.environment["HF_HUB_OFFLINE"] == "1"
    assert {"SGLANG_HOST_IP", "PATH", "HOME"}.isdisjoint(order.agent.environment)
    assert (order.nodes, order.gpus_per_node, order.is_first) == (2, 4, True)
    assert order.server_id != driver_order(CLUSTER).server_id
    assert order.agent.lease_s == 20.0
    slow = msgspec.structs.replace(CLUSTER, heartbeat_s=10.0)
    assert driver_order(slow).agent.lease_s == 40.0


def test_a_node_with_another_version_is_named_with_both() -> None:
    check_versions(versions_here())
    with pytest.raises(ConfigError, match=r"torch is .* there and 0\.1 on the server"):
        check_versions({**versions_here(), "torch": "0.1"})
