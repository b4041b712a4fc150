"""Servers for the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.serving import CASCADE, Server, start


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The demo cascade, shared by the tests that leave it as it is."""
    server = start(tmp_path_factory.mktemp("demo"), *CASCADE)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


@pytest.fixture
def own_demo(tmp_path: Path) -> Iterator[Server]:
    """A demo cascade of one test's own, which it may break."""
    server = start(tmp_path, *CASCADE)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()
