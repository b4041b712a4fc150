"""What the driver and the agents are told of a server, made of its settings and flags."""

from __future__ import annotations

import argparse
import copy
import os
import uuid
from collections.abc import Set
from pathlib import Path
from typing import Any

import msgspec

from cascadia_sglang.cluster.versions import versions_here
from cascadia_sglang.cluster.wire import AgentOrder, DriverOrder, NodeOrder
from cascadia_sglang.config.cluster_settings import ClusterConfig
from cascadia_sglang.config.paths import with_paths
from cascadia_sglang.config.settings import CascadeConfig

# Without a word for so long, an agent ends its workers: the server is gone.
LEAST_LEASE_S = 20.0
_HEARTBEATS_OF_LEASE = 4
# What of the server's environment its workers read elsewhere too.
_PASSED_ON = ("SGLANG_", "HF_", "CASCADIA_", "NCCL_", "TRANSFORMERS_")
# Of one host.
_NOT_PASSED_ON = {
    "SGLANG_HOST_IP",
    "SGLANG_LOCAL_IP_NIC",
    "SGLANG_ZMQ_SOURCE_IP",
    "SGLANG_CPU_OMP_THREADS_BIND",
    "SGLANG_LOGGING_CONFIG_PATH",
    "HF_HOME",
    "HF_HUB_CACHE",
}
# Small files that workers read, by the end of their key: they travel. Models do not.
_TRAVELLING = ("].calibration", "].draft_calibration", "planner.emulate")
# Flags of SGLang that may name a file or a folder on every machine.
_PATH_FLAGS = ("tokenizer_path", "chat_template", "quantization_param_path", "model_path")


def driver_order(cluster: ClusterConfig) -> DriverOrder:
    """For the first driver of a server."""
    assert cluster.ray is not None
    environment = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_PASSED_ON) and name not in _NOT_PASSED_ON
    }
    agent = AgentOrder(
        versions=versions_here(),
        environment=environment,
        workers=cluster.gpus_per_node,
        lease_s=max(LEAST_LEASE_S, _HEARTBEATS_OF_LEASE * cluster.heartbeat_s),
    )
    return DriverOrder(
        address=cluster.ray,
        server_id=uuid.uuid4().hex,
        nodes=cluster.nodes,
        gpus_per_node=cluster.gpus_per_node,
        heartbeat_s=cluster.heartbeat_s,
        agent=agent,
        is_first=True,
    )


def node_order(
    config: CascadeConfig,
    namespace: argparse.Namespace,
    probed: Set[int],
    tokenizer: str,
    detokenizers: tuple[str, ...],
) -> NodeOrder:
    """For every node.

    Args:
        namespace: SGLang's flags.
        probed: tier indices whose hidden states the judge reads.
        tokenizer: address of the tokenizer manager.
        detokenizers: of each tier's detokenizer.
    """
    files: dict[str, bytes] = {}

    def elsewhere(key_path: str, path: str) -> str:
        here = Path(path)
        if key_path.endswith(_TRAVELLING):
            name = f"{len(files)}-{here.name}"
            files[name] = here.read_bytes()
            return name
        return str(here.absolute()) if here.exists() else path

    data = with_paths(msgspec.to_builtins(config), elsewhere)
    # What they publish of their caches does not leave their host.
    data["prefix"] = {**data["prefix"], "events": "off"}
    return NodeOrder(
        config=msgspec.convert(data, CascadeConfig),
        namespace=_flags_elsewhere(namespace),
        files=files,
        probed=frozenset(probed),
        tokenizer=tokenizer,
        detokenizers=detokenizers,
        devices=config.cluster.gpus_per_node,
        is_debug=namespace.log_level.lower() == "debug",
    )


def _flags_elsewhere(namespace: argparse.Namespace) -> argparse.Namespace:
    """The flags without the plugin's own, which would make a server; paths are absolute."""
    flags = copy.copy(namespace)
    flags.plugin = None
    for name in _PATH_FLAGS:
        value: Any = getattr(flags, name, None)
        if isinstance(value, str) and Path(value).exists():
            setattr(flags, name, str(Path(value).absolute()))
    return flags
