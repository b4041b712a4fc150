"""Addresses of this host for the sockets that workers on other machines connect to."""

import random
import socket

from cascadia_sglang.config.cluster_settings import port_range
from cascadia_sglang.errors import WorkerError

# Below the ports that the system gives out by itself, so that one stays free until it is bound.
_DEFAULT = "22000-29999"


class Addresses:
    """Gives out ports of one address, each to one socket at a time."""

    def __init__(self, host: str, ports: str | None) -> None:
        """`ports` is LOW-HIGH; None for any of `_DEFAULT`."""
        self.host = host
        self._shown = ports or _DEFAULT
        numbers = port_range(self._shown)
        assert numbers is not None
        self._ports = list(numbers)
        if ports is None:
            # Two servers of one host hardly ever look at the same port.
            random.shuffle(self._ports)
        self._given: set[str] = set()

    def take(self) -> str:
        """An address that nobody uses now, for a socket of the server.

        Raises:
            WorkerError: if all ports are in use.
        """
        for port in self._ports:
            address = f"tcp://{self._bracketed()}:{port}"
            if address not in self._given and self._is_free(port):
                self._given.add(address)
                return address
        raise WorkerError(f"no port of {self._shown} is free on {self.host} (cluster.ports)")

    def give_back(self, address: str) -> None:
        """Let another socket have an address whose socket is closed, or about to be."""
        self._given.discard(address)

    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    def _is_free(self, port: int) -> bool:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((self.host, port))
            except OSError:
                return False
        return True
