"""What a worker on a CPU takes for free memory."""

import numpy as np

from cascadia_patches.process import get_free_cpu_memory

GIB = 1 << 30


def test_what_other_processes_take_in_between_does_not_count() -> None:
    look = get_free_cpu_memory.PATCH.build(None)
    before = look(16 * GIB)
    after = look(9 * GIB)
    assert before == 16 * GIB
    assert before - after < GIB / 4


def test_what_the_process_takes_itself_counts() -> None:
    look = get_free_cpu_memory.PATCH.build(None)
    before = look(16 * GIB)
    taken = np.ones(GIB // 16)  # 512 MiB, touched
    after = look(16 * GIB)
    assert before - after > 0.9 * taken.nbytes


def test_a_share_is_of_what_was_free_before_any_worker_started(monkeypatch) -> None:
    monkeypatch.setattr(get_free_cpu_memory, "get_cpu_ids_by_node", lambda: ["0,1"])
    look = get_free_cpu_memory.PATCH.build(20 * GIB)
    # Others have taken 15 GiB since.
    before = look(5 * GIB)
    assert before == 20 * GIB
    assert look(2 * GIB) > 19.5 * GIB


def test_a_share_of_the_host_is_not_one_of_a_memory_node(monkeypatch) -> None:
    monkeypatch.setattr(get_free_cpu_memory, "get_cpu_ids_by_node", lambda: ["0,1", "2,3"])
    assert get_free_cpu_memory.PATCH.build(20 * GIB)(5 * GIB) == 2 * 20 * GIB
    assert get_free_cpu_memory.PATCH.build(None)(16 * GIB) == 16 * GIB
