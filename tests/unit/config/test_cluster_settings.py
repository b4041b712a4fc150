"""The settings of the machines that take workers."""

from typing import Any

import msgspec
import pytest

from cascadia_sglang.config.checks import problems_on_several_machines
from cascadia_sglang.config.cluster_settings import ClusterConfig, cluster_problems, port_range
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.testing.engine import make_cascade

GOOD: dict[str, Any] = {"ray": "10.0.0.1:6379", "nodes": 3, "private_network": True}


def with_cluster(**changes: Any) -> CascadeConfig:
    made = make_cascade("small", "large")
    return msgspec.structs.replace(made, cluster=ClusterConfig(**{**GOOD, **changes}))


def test_without_ray_nothing_is_asked_of_a_cluster() -> None:
    assert not ClusterConfig(nodes=3).is_on
    assert list(cluster_problems(ClusterConfig(nodes=3))) == []
    assert problems_on_several_machines(make_cascade("small", "large")) == []


@pytest.mark.parametrize(
    "changes",
    [{}, {"ray": "auto"}, {"ray": "[::1]:6379"}, {"address": "10.0.0.1", "ports": "23000-23999"}],
)
def test_a_cluster_on_a_private_network_may_be(changes: dict[str, Any]) -> None:
    assert list(cluster_problems(ClusterConfig(**{**GOOD, **changes}))) == []


@pytest.mark.parametrize(
    ("changes", "begins"),
    [
        ({"private_network": False}, "private_network is false: "),
        ({"nodes": 0}, "nodes is 0, allowed"),
        ({"ray": "10.0.0.1"}, "ray is '10.0.0.1', allowed: auto, or HOST:PORT"),
        ({"ray": "10.0.0.1:0"}, "ray is "),
        ({"ray": "10.0.0.1:66000"}, "ray is "),
        ({"address": "0.0.0.0"}, "address is '0.0.0.0', allowed: one IP address"),
        ({"address": "::"}, "address is "),
        ({"address": "head"}, "address is "),
        ({"ports": "23000"}, "ports is '23000', allowed: LOW-HIGH"),
        ({"ports": "24000-23000"}, "ports is "),
        ({"ports": "80-90"}, "ports is "),
    ],
)
def test_what_a_cluster_may_not_be_is_one_line(changes: dict[str, Any], begins: str) -> None:
    (line,) = cluster_problems(ClusterConfig(**{**GOOD, **changes}))
    assert line.startswith(begins)
    assert "\n" not in line


def test_a_range_of_ports_has_both_ends() -> None:
    assert port_range("23000-23002") == range(23000, 23003)
    assert port_range("23000-23000") == range(23000, 23001)


@pytest.mark.parametrize("change", [{"devices": [0]}, {"gpu_share": 0.5}])
def test_devices_of_one_machine_cannot_be_named(change: dict[str, Any]) -> None:
    config = with_cluster()
    tiers = [msgspec.structs.replace(config.tiers[0], **change), config.tiers[1]]
    (line,) = problems_on_several_machines(msgspec.structs.replace(config, tiers=tiers))
    (key,) = change
    assert line == f"tiers[0].{key} is of one machine: cluster.ray excludes it"


def test_a_tier_that_calibrates_itself_needs_a_folder_that_all_machines_see() -> None:
    config = with_cluster()
    tiers = [msgspec.structs.replace(tier, calibration=None) for tier in config.tiers]
    routing = msgspec.structs.replace(config.routing, thresholds=[], escalation_rate=0.3)
    config = msgspec.structs.replace(config, tiers=tiers, routing=routing)
    (line,) = problems_on_several_machines(config)
    assert line.startswith("tiers[0] calibrates itself")
    for change in ({"state": "/shared"}, {"calibration": "off"}):
        assert problems_on_several_machines(msgspec.structs.replace(config, **change)) == []
