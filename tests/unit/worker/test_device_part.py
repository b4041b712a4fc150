"""What a worker sees of a device that it shares, and the key-value pool that SGLang makes of it."""

from types import SimpleNamespace

import pytest
import torch

from cascadia_sglang.messages import DeviceShare
from cascadia_sglang.worker.device_part import DevicePart

GIB = 1 << 30


class Device:
    """A device's free memory, and what this process holds of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free_gib: float) -> None:
        self.free_gib, self.held_gib = free_gib, 0.0
        module = SimpleNamespace(memory_reserved=lambda _: self.held_gib * GIB)
        monkeypatch.setattr(torch, "get_device_module", lambda _: module)

    def free_memory_gib(self, device: str, gpu_id: int, *, empty_cache: bool) -> float:
        assert (device, gpu_id, empty_cache) == ("cuda", 0, True)
        return self.free_gib

    def take(self, gib: float) -> None:
        self.free_gib -= gib
        self.held_gib += gib


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    return Device(monkeypatch, 70.0)


def part(gib: float) -> DevicePart:
    return DevicePart(DeviceShare(share=0.25, free_bytes=gib * GIB))


def test_the_first_look_finds_the_part_however_much_others_have_left(device: Device) -> None:
    assert part(20).available_gib(device.free_memory_gib, "cuda", 0) == 20.0
    device.free_gib = 25.0
    assert part(20).available_gib(device.free_memory_gib, "cuda", 0) == 20.0


def test_sglangs_pool_is_the_share_less_the_weights(device: Device) -> None:
    mine = part(20)
    before = mine.available_gib(device.free_memory_gib, "cuda", 0)
    device.take(5.0)
    after = mine.available_gib(device.free_memory_gib, "cuda", 0)
    # What SGLang leaves to the pool: free after the load, less the slack of the first look.
    assert after - before * (1 - 0.8) == pytest.approx(0.8 * 20 - 5)


def test_memory_that_another_worker_gives_back_is_not_taken(device: Device) -> None:
    mine = part(20)
    mine.available_gib(device.free_memory_gib, "cuda", 0)
    device.take(5.0)
    device.free_gib += 30.0
    assert mine.available_gib(device.free_memory_gib, "cuda", 0) == 15.0


def test_of_several_ranks_the_one_with_the_least_counts(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    reduced: list[float] = []

    def all_reduce(tensor: torch.Tensor, *, op: object, group: object) -> None:
        assert op == torch.distributed.ReduceOp.MIN
        assert group == "ranks"
        reduced.append(tensor.item())
        tensor.fill_(3.0)

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    available_gib = part(20).available_gib(
        device.free_memory_gib, "cuda", 0, distributed=True, cpu_group="ranks"
    )
    assert (available_gib, reduced) == (3.0, [20.0])
