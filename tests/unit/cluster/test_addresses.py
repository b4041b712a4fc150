"""Ports of this host for the sockets of a cluster."""

import socket

import pytest

from cascadia_sglang.cluster.addresses import Addresses
from cascadia_sglang.errors import WorkerError


@pytest.fixture
def taken() -> socket.socket:
    """A port in use, with a free one above it."""
    while True:
        used, above = socket.socket(), socket.socket()
        used.bind(("127.0.0.1", 0))
        used.listen()
        try:
            above.bind(("127.0.0.1", used.getsockname()[1] + 1))
        except OSError:
            used.close()
            continue
        finally:
            above.close()
        return used


def test_a_port_is_given_out_once_and_one_in_use_never(taken: socket.socket) -> None:
    with taken:
        port = taken.getsockname()[1]
        addresses = Addresses("127.0.0.1", f"{port}-{port + 1}")
        first = addresses.take()
        assert first == f"tcp://127.0.0.1:{port + 1}"
        with pytest.raises(WorkerError, match=rf"no port of {port}-{port + 1} is free"):
            addresses.take()
        addresses.give_back(first)
        assert addresses.take() == first


def test_without_a_range_ports_lie_below_those_of_the_system() -> None:
    addresses = Addresses("127.0.0.1", None)
    ports = {int(addresses.take().rpartition(":")[2]) for _ in range(50)}
    assert len(ports) == 50
    assert min(ports) >= 22000
    assert max(ports) < 30000


def test_an_address_of_the_sixth_version_has_brackets() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    assert Addresses("::1", None).take().startswith("tcp://[::1]:")
