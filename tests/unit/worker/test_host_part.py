"""What a worker on a CPU takes for free memory."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from cascadia_sglang.worker import host_part
from cascadia_sglang.worker.host_part import HostPart

GIB = 1 << 30


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The memory nodes of the host, by the processors of each."""
    nodes = ["0,1"]
    monkeypatch.setattr(host_part, "get_cpu_ids_by_node", lambda: nodes)
    return nodes


def finding(gib: float) -> Callable[..., float]:
    """SGLang's function, which finds so much free on the whole host."""

    def look(device: str, gpu_id: int, *, empty_cache: bool) -> float:
        assert (device, gpu_id, empty_cache) == ("cpu", 0, True)
        return gib / len(host_part.get_cpu_ids_by_node())

    return look


def look(part: HostPart, gib: float) -> float:
    return part.available_gib(finding(gib), "cpu", 0)


@pytest.mark.usefixtures("nodes")
def test_what_other_processes_take_in_between_does_not_count() -> None:
    part = HostPart(None)
    assert look(part, 16) == pytest.approx(16)
    assert look(part, 9) > 15.75


@pytest.mark.usefixtures("nodes")
def test_what_the_process_takes_itself_counts() -> None:
    part = HostPart(None)
    before = look(part, 16)
    taken = np.ones(GIB // 16)  # 512 MiB, touched
    assert before - look(part, 16) > 0.9 * taken.nbytes / GIB


@pytest.mark.usefixtures("nodes")
def test_a_share_is_of_what_was_free_before_any_worker_started() -> None:
    part = HostPart(20 * GIB)
    # Others have taken 15 GiB since.
    assert look(part, 5) == pytest.approx(20)
    assert look(part, 2) > 19.5


def test_a_share_of_the_host_is_not_one_of_a_memory_node(nodes: list[str]) -> None:
    nodes.append("2,3")
    assert look(HostPart(20 * GIB), 5) == pytest.approx(20)
    assert look(HostPart(None), 16) == pytest.approx(8)


def test_another_device_is_looked_at_as_sglang_does() -> None:
    asked: list[tuple[object, ...]] = []

    def look(*arguments: object) -> float:
        asked.append(arguments)
        return 70.0

    assert HostPart(20 * GIB).available_gib(look, "cuda", 1, True, False) == 70.0
    assert asked == [("cuda", 1, True, False, None)]


@pytest.mark.usefixtures("nodes")
def test_of_several_ranks_the_one_with_the_least_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_reduce(tensor: torch.Tensor, *, op: object, group: object) -> None:
        assert (op, group) == (torch.distributed.ReduceOp.MIN, "ranks")
        assert tensor.item() == pytest.approx(16)
        tensor.fill_(3.0)

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    ranks: Any = "ranks"
    gib = HostPart(None).available_gib(finding(16), "cpu", 0, distributed=True, cpu_group=ranks)
    assert gib == 3.0
