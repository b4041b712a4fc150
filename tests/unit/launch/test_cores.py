"""Which cores a worker of several ranks is told to use on a host."""

import os

from cascadia_sglang.launch.launcher import cores_of_ranks


def test_every_rank_has_a_core_and_they_are_shared_where_there_are_too_few() -> None:
    cores = sorted(os.sched_getaffinity(0))
    cores_by_rank = cores_of_ranks(len(cores) + 1).split("|")
    assert cores_by_rank == [*map(str, cores), str(cores[0])]
