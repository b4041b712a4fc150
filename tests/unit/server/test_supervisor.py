"""What the supervisor does about the detokenizers."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from cascadia_sglang.errors import WorkerError
from cascadia_sglang.server.supervisor import Supervisor


class FakeDetokenizer:
    """Runs, has ended or hangs; counts its starts."""

    def __init__(self, name: str, tiers: set[int]) -> None:
        self.name, self.tiers = name, tiers
        self.is_alive, self.hangs, self.starts = True, False, 0
        self.failures: list[Exception] = []
        self.process = SimpleNamespace(is_alive=lambda: self.is_alive)

    def is_stalled(self) -> bool:
        return self.hangs

    def end(self) -> None:
        self.is_alive = False

    async def start_again(self) -> None:
        if self.failures:
            raise self.failures.pop()
        self.is_alive, self.hangs = True, False
        self.starts += 1


class FakeFleet:
    """No worker; remembers whose attempts were lost."""

    def __init__(self) -> None:
        self.pool: list[Any] = []
        self.lost: list[set[int]] = []

    def lose_attempts(self, tiers: set[int]) -> None:
        self.lost.append(tiers)


@pytest.fixture
def detokenizers() -> list[FakeDetokenizer]:
    return [FakeDetokenizer("detokenizer", {0, 1}), FakeDetokenizer("detokenizer-c", {2})]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0)


@pytest.mark.parametrize("way", ["ends", "hangs"])
async def test_the_loss_of_a_detokenizer_costs_the_attempts_of_its_tiers_alone(
    way: str, detokenizers: list[FakeDetokenizer]
) -> None:
    fleet = FakeFleet()
    supervisor = Supervisor(fleet, detokenizers, None)  # type: ignore[arg-type]
    supervisor._take_ended()
    supervisor._take_stalled()
    assert fleet.lost == []
    if way == "ends":
        detokenizers[1].is_alive = False
        supervisor._take_ended()
    else:
        detokenizers[1].hangs = True
        supervisor._take_stalled()
    assert fleet.lost == [{2}]
    # Its next one is on its way: it is not lost once more.
    supervisor._take_ended()
    supervisor._take_stalled()
    assert fleet.lost == [{2}]
    await until(lambda: detokenizers[1].is_alive)
    assert [detokenizer.starts for detokenizer in detokenizers] == [0, 1]


async def test_a_detokenizer_is_started_until_it_runs_and_watched_again(
    detokenizers: list[FakeDetokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cascadia_sglang.server.supervisor.LOOK_S", 0.0)
    fleet = FakeFleet()
    supervisor = Supervisor(fleet, detokenizers, None)  # type: ignore[arg-type]
    detokenizers[0].failures = [EOFError(), WorkerError("no fork server")]
    for starts in (1, 2):
        detokenizers[0].is_alive = False
        supervisor._take_ended()
        await until(lambda starts=starts: detokenizers[0].starts == starts)  # type: ignore[misc]
        await until(lambda: detokenizers[0] in supervisor._watched())
    assert fleet.lost == [{0, 1}] * 2
