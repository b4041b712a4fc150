"""What the supervisor does about the detokenizers."""

from types import SimpleNamespace
from typing import Any

import pytest

from cascadia_sglang.server.supervisor import Supervisor


class FakeDetokenizer:
    """Runs, has ended or hangs; counts its starts."""

    def __init__(self, name: str, tiers: set[int]) -> None:
        self.name, self.tiers = name, tiers
        self.is_alive, self.hangs, self.starts = True, False, 0
        self.process = SimpleNamespace(is_alive=lambda: self.is_alive)

    def is_stalled(self) -> bool:
        return self.hangs

    def restart(self) -> None:
        self.is_alive, self.hangs = True, False
        self.starts += 1


class FakeFleet:
    """No worker; remembers whose attempts were lost."""

    def __init__(self) -> None:
        self.pool: list[Any] = []
        self.lost: list[set[int]] = []

    def lose_attempts(self, tiers: set[int]) -> None:
        self.lost.append(tiers)


@pytest.mark.parametrize("way", ["ends", "hangs"])
def test_the_loss_of_a_detokenizer_costs_the_attempts_of_its_tiers_alone(way: str) -> None:
    fleet = FakeFleet()
    detokenizers = [FakeDetokenizer("detokenizer", {0, 1}), FakeDetokenizer("detokenizer-c", {2})]
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
    assert [detokenizer.starts for detokenizer in detokenizers] == [0, 1]
