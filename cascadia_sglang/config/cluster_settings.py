"""Settings of the cluster: further machines on which workers run."""

import ipaddress
import re
from collections.abc import Iterator

import msgspec

from cascadia_sglang.value_ranges import Count, CountOrZero, Positive

# With it Ray finds the cluster that this host belongs to.
THIS_HOSTS_CLUSTER = "auto"
_HEAD = re.compile(r"(?:\[[0-9A-Fa-f:]+\]|[^\s:\[\]]+):(\d{1,5})")
_PORTS = re.compile(r"(\d{1,5})-(\d{1,5})")
_LEAST_PORT, _MOST_PORT = 1024, 65535


class ClusterConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Further machines for workers, which Ray knows."""

    ray: str | None = None
    """The Ray cluster: HOST:PORT of its head, or `auto` for the one that this host belongs to.

    null: this host alone, and Ray is not needed.
    """
    nodes: CountOrZero = 0
    """Machines that take workers, besides this host."""
    gpus_per_node: Count = 8
    """Accelerators of each such machine; without accelerators, the workers that it may hold."""
    local_devices: CountOrZero | None = None
    """Accelerators of this host that workers may have; without any, workers that it may hold.

    0: every worker runs elsewhere. null: all accelerators; without any, as on one host.
    """
    address: str | None = None
    """Address of this host at which workers reach it. null: the one that Ray knows it by."""
    ports: str | None = None
    """Ports of this host for the workers, as 23000-23999: two a worker, and three more.

    null: any from 22000 to 29999.
    """
    heartbeat_s: Positive = 5.0
    """Seconds without a sign of a machine until its workers count as lost."""
    private_network: bool = False
    """Says that only trusted machines reach `address` and Ray's ports. A cluster needs it.

    What server and workers send is not encrypted, and who reaches these ports can run programs.
    """

    @property
    def is_on(self) -> bool:
        """Whether there are machines besides this host."""
        return self.ray is not None


def cluster_problems(cluster: ClusterConfig) -> Iterator[str]:
    """What is wrong with `cluster` beyond the ranges of its numbers, a line each."""
    if cluster.ray is None:
        return
    if cluster.ray != THIS_HOSTS_CLUSTER and not _is_head(cluster.ray):
        yield f"ray is {cluster.ray!r}, allowed: {THIS_HOSTS_CLUSTER}, or HOST:PORT of Ray's head"
    if cluster.nodes < 1:
        yield "nodes is 0, allowed where ray is given: 1 or more"
    if cluster.address is not None and not _is_one_address(cluster.address):
        yield f"address is {cluster.address!r}, allowed: one IP address of this host, not all"
    if cluster.ports is not None and port_range(cluster.ports) is None:
        yield (
            f"ports is {cluster.ports!r}, allowed: LOW-HIGH within {_LEAST_PORT} to {_MOST_PORT}"
        )
    if not cluster.private_network:
        yield (
            "private_network is false: what server and workers send is not encrypted, and who "
            "reaches their ports can run programs; say true where only trusted machines do"
        )


def port_range(ports: str) -> range | None:
    """The ports of LOW-HIGH; None for any other text."""
    match = _PORTS.fullmatch(ports)
    if match is None:
        return None
    low, high = int(match[1]), int(match[2])
    return range(low, high + 1) if _LEAST_PORT <= low <= high <= _MOST_PORT else None


def _is_head(text: str) -> bool:
    match = _HEAD.fullmatch(text)
    return match is not None and 0 < int(match[1]) <= _MOST_PORT


def _is_one_address(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text).is_unspecified
    except ValueError:
        return False
