"""What the command line and the SGLang release say of workers on other machines."""

import argparse
import json
from pathlib import Path

import pytest
from sglang.srt.utils import network

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.server import start


def read(folder: Path, **flags: object) -> start.CascadeConfig:
    """The cascade of a command line with these flags."""
    path = folder / "cascade.json"
    tiers = [{"name": name, "model_path": f"demo/models/{name}"} for name in ("small", "large")]
    path.write_text(json.dumps({"version": 1, "tiers": tiers, "calibration": "off"}))
    given = {
        "cascade_config": str(path),
        "cascade_tiers": None,
        "cascade_thresholds": None,
        "cascade_escalation_rate": None,
        "cascade_state": None,
        "cascade_ray": None,
        "cascade_nodes": None,
        "cascade_private_network": False,
    }
    return start._read_config(argparse.Namespace(**{**given, **flags}))


CLUSTER = {"cascade_ray": "auto", "cascade_nodes": 2, "cascade_private_network": True}


def test_flags_name_the_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "require", lambda _: None)
    cluster = read(tmp_path, **CLUSTER).cluster
    assert (cluster.ray, cluster.nodes, cluster.private_network) == ("auto", 2, True)
    assert not read(tmp_path).cluster.is_on


def test_a_release_that_cannot_refuse_connections_has_no_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "require", lambda _: None)
    monkeypatch.delattr(network, "restrict_zmq_peers")
    with pytest.raises(ConfigError, match=r"cluster\.ray is 'auto', allowed with this SGLang"):
        read(tmp_path, **CLUSTER)
    assert not read(tmp_path).cluster.is_on
