"""What a worker on a CPU takes for free memory."""

import numpy as np

from cascadia_patches import free_cpu_memory

GIB = 1 << 30


def test_what_other_processes_take_in_between_does_not_count() -> None:
    look = free_cpu_memory.PATCH.build(None)
    before = look(16 * GIB)
    after = look(9 * GIB)
    assert before == 16 * GIB
    assert before - after < GIB / 4


def test_what_the_process_takes_itself_counts() -> None:
    look = free_cpu_memory.PATCH.build(None)
    before = look(16 * GIB)
    taken = np.ones(GIB // 16)  # 512 MiB, touched
    after = look(16 * GIB)
    assert before - after > 0.9 * taken.nbytes
