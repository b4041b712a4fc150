"""The driver's process, and what the server does when it ends."""

from collections.abc import Iterator

import pytest

from cascadia_sglang.cluster import driver_process
from cascadia_sglang.cluster.driver_process import DriverProcess
from cascadia_sglang.cluster.orders import driver_order
from cascadia_sglang.cluster.wire import Connected, Keep, Sign, Trouble, Wanted
from cascadia_sglang.config.cluster_settings import ClusterConfig
from cascadia_sglang.errors import WorkerError
from tests.unit.cluster.faked_nodes import until


class Heard:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.messages: list[Connected | Trouble | Sign] = []
        self.seconds = 0.0

    def heard(self, message: Connected | Trouble | Sign) -> None:
        self.messages.append(message)

    def passed(self, seconds: float) -> None:
        self.seconds += seconds

    def signs(self) -> list[Sign]:
        return [message for message in self.messages if isinstance(message, Sign)]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def driver(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> Iterator[DriverProcess]:
    monkeypatch.setattr(driver_process, "_MODULE", "tests.unit.cluster.faked_driver")
    driver = DriverProcess(driver_order(ClusterConfig(ray="auto", nodes=1)))
    driver.begin(heard)
    yield driver
    driver.close()


def keep(*worker_ids: str) -> Keep:
    return Keep(number=1, wanted=Wanted(version=1, worker_ids=frozenset(worker_ids)))


def test_a_call_is_answered_or_fails_with_the_reason(driver: DriverProcess) -> None:
    assert driver.call(1, "echo", b"word").result(10) == b"word"
    with pytest.raises(WorkerError, match="its node was lost"):
        driver.call(1, "fail", b"").result(10)


def test_a_driver_that_ends_is_started_again_and_told_what_is_wanted(
    driver: DriverProcess, heard: Heard
) -> None:
    driver.keep(keep("small-0"))
    until(lambda: len(heard.signs()) == 1)
    with pytest.raises(WorkerError, match="ended meanwhile"):
        driver.call(1, "end", b"").result(10)
    until(lambda: len(heard.signs()) == 2)
    first, second = heard.signs()
    assert first.agent == second.agent == "small-0"
    assert first.host != second.host
    assert Connected(address="127.0.0.2") in heard.messages
    assert driver.call(1, "echo", b"word").result(10) == b"word"
    # While there is no driver, nobody gives signs: that time counts.
    assert heard.seconds > 0.3


def test_a_driver_that_is_closed_ends_and_no_other_follows(
    driver: DriverProcess, heard: Heard
) -> None:
    until(lambda: heard.messages != [])
    driver.close()
    assert driver._process is not None
    assert driver._process.poll() == 0
    with pytest.raises(WorkerError):
        driver.call(1, "echo", b"").result(10)
    assert len(heard.messages) == 1
