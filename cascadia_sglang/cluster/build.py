"""Makes the launcher of a cluster, once its driver and agents answer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cascadia_sglang.capacity.types import Capacity
from cascadia_sglang.cluster.addresses import Addresses
from cascadia_sglang.cluster.launcher import ClusterLauncher, placed_replicas, with_devices
from cascadia_sglang.cluster.loads import LoadReceiver
from cascadia_sglang.cluster.orders import node_order
from cascadia_sglang.cluster.remote_nodes import RemoteNodes
from cascadia_sglang.config.pool_specs import pool_specs
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.launch.arguments import TierArguments
from cascadia_sglang.launch.device_memory import whole_devices
from cascadia_sglang.launch.launcher import LocalLauncher, StartGroup
from cascadia_sglang.launch.this_host import node_launcher, this_node
from cascadia_sglang.messages import PaceSpec

if TYPE_CHECKING:
    from sglang.srt.server_args import PortArgs

logger = logging.getLogger(__name__)

# Agents import SGLang first, from a disk that may be cold.
OPEN_S = 180.0
_IPC = "ipc://"


class OutputSockets(Protocol):
    """Where the detokenizers listen; `fleet.Detokenizers`."""

    def address(self, tier_index: int) -> str | None: ...

    def listen_at(self, take: Callable[[], str]) -> None: ...


def cluster_launcher_of(
    config: CascadeConfig,
    arguments: TierArguments,
    paces: dict[int, PaceSpec],
    start_group: StartGroup,
    server_ports: PortArgs,
    detokenizers: OutputSockets,
    nodes: RemoteNodes,
) -> ClusterLauncher:
    """The launcher of a cascade whose workers run on this host and others.

    Args:
        server_ports: of the server; what workers connect to is moved to addresses that other hosts
            reach.

    Raises:
        CascadiaError: if a node does not answer or cannot serve, or the workers find no devices.
    """
    addresses = Addresses(nodes.address, config.cluster.ports)
    _move_sockets(server_ports, detokenizers, addresses)
    shared = server_ports.detokenizer_ipc_name
    order = node_order(
        config,
        arguments.namespace,
        arguments.probed,
        server_ports.tokenizer_ipc_name,
        tuple(detokenizers.address(tier) or shared for tier in range(len(config.tiers))),
    )
    nodes.open(order, OPEN_S)
    others = nodes.shown()
    here = with_devices(this_node(arguments), config.cluster.local_devices)
    takes_workers = here.devices > 0
    if takes_workers and here.gpu != others[0].gpu:
        logger.info("this host has no %s: every worker runs elsewhere", others[0].gpu)
        takes_workers = False
    capacities = {
        spec.name: Capacity(replicas=spec.replicas, **arguments.parallel_sizes(spec))
        for spec in pool_specs(config)
    }
    replicas = placed_replicas(capacities, (here, *others) if takes_workers else others)
    local: LocalLauncher | None = None
    if takes_workers:
        local = node_launcher(
            config,
            arguments,
            paces,
            start_group,
            server_ports,
            detokenizers.address,
            here,
            whole_devices(),
        )
    return ClusterLauncher(local, nodes, replicas, addresses, LoadReceiver())


def _move_sockets(
    server_ports: PortArgs, detokenizers: OutputSockets, addresses: Addresses
) -> None:
    """Have the tokenizer manager and the detokenizers listen where other hosts reach them."""
    for name in ("tokenizer_ipc_name", "detokenizer_ipc_name"):
        # SGLang has made an empty file for the name.
        Path(getattr(server_ports, name).removeprefix(_IPC)).unlink(missing_ok=True)
        setattr(server_ports, name, addresses.take())
    detokenizers.listen_at(addresses.take)
