"""The index against a brute-force model: sets of pairs."""

import random
import time

import numpy as np
import pytest

from cascadia_sglang.prefix.block_table import FULLEST, BlockTable
from cascadia_sglang.prefix.index import PrefixIndex

WORKERS = [f"small-{number}" for number in range(5)]


class Model:
    """What the index should hold."""

    def __init__(self) -> None:
        self.pairs: set[tuple[str, int]] = set()
        self.workers: set[str] = set()

    def held(self, hashes: list[int], worker: str) -> int:
        count = 0
        for block in hashes:
            if (worker, block) not in self.pairs:
                break
            count += 1
        return count


@pytest.mark.parametrize("seed", range(6))
def test_any_course_of_events_leaves_what_the_model_holds(seed: int) -> None:
    rng = random.Random(seed)
    # Few hashes, of which many point to one place: runs, wrap-arounds and holes in them.
    pool = [rng.getrandbits(63) - 2**62 for _ in range(400)]
    pool += [(rng.getrandbits(20) << 40) | rng.randrange(4) for _ in range(400)]
    index, model = PrefixIndex(10**6), Model()
    for _ in range(4000):
        worker = rng.choice(WORKERS)
        chosen = rng.choices(pool, k=rng.randrange(12))
        what = rng.random()
        if what < 0.06:
            index.add_worker(worker)
            model.workers.add(worker)
        elif what < 0.08:
            index.drop_worker(worker)
            model.workers.discard(worker)
            model.pairs = {pair for pair in model.pairs if pair[0] != worker}
        elif what < 0.09:
            index.cleared(worker)
            model.pairs = {pair for pair in model.pairs if pair[0] != worker}
        elif what < 0.6:
            index.stored(worker, chosen)
            if worker in model.workers:
                model.pairs |= {(worker, block) for block in chosen}
        else:
            index.removed(worker, chosen)
            model.pairs -= {(worker, block) for block in chosen}
        hashes = rng.choices(pool, k=6)
        expected = [model.held(hashes, worker) for worker in WORKERS]
        assert index.held(np.array(hashes), WORKERS) == expected
        assert index.blocks == len(model.pairs)
        counts = [sum(pair[0] == worker for pair in model.pairs) for worker in WORKERS[:1]]
        assert [index.blocks_of(worker) for worker in WORKERS[:1]] == counts
    assert index.blocks > 0


def test_the_table_grows_and_keeps_everything() -> None:
    table = BlockTable(10**6)
    hashes = np.random.default_rng(0).integers(-(2**63), 2**63, 50_000)
    for start in range(0, len(hashes), 100):
        assert table.insert(hashes[start : start + 100], 1 + start % 3) == 0
    assert table.pairs == len(hashes)
    assert table.pairs <= FULLEST * table.nbytes / 10
    for start in range(0, len(hashes), 100):
        slots = np.array([1, 2, 3], np.uint16)
        counts = table.held(hashes[start : start + 100], slots).tolist()
        assert counts[start % 3] == 100
        assert sum(counts) == 100


def test_beyond_the_bound_nothing_is_taken_and_it_is_counted() -> None:
    index = PrefixIndex(100)
    index.add_worker("a")
    index.stored("a", range(80))
    index.stored("a", range(1000, 1040))
    assert (index.blocks, index.refused) == (100, 20)
    index.removed("a", range(80))
    index.stored("a", range(2000, 2010))
    assert (index.blocks, index.refused) == (30, 20)


def test_a_new_worker_inherits_nothing_from_the_slot_it_gets() -> None:
    index = PrefixIndex(1000)
    for number in range(200):
        worker = f"w-{number}"
        index.add_worker(worker)
        assert index.held(np.arange(5), [worker]) == [0]
        index.stored(worker, range(5))
        assert index.held(np.arange(5), [worker]) == [5]
        index.drop_worker(worker)
        assert index.held(np.arange(5), [worker]) == [0]
    assert index.blocks == 0


def test_a_million_blocks_fit_and_are_found_fast() -> None:
    """The bounds that are promised, with room for a busy machine."""
    index = PrefixIndex(1 << 21)
    workers = [f"w-{number}" for number in range(4)]
    hashes = np.random.default_rng(1).integers(-(2**63), 2**63, 1_000_000)
    for number, worker in enumerate(workers):
        index.add_worker(worker)
        index.stored(worker, hashes[number::4])
    assert index.blocks == 1_000_000
    assert index.nbytes <= 64e6
    prompt = hashes[:256:4].copy()
    assert index.held(prompt, workers) == [64, 0, 0, 0]
    seconds = []
    for _ in range(200):
        started = time.perf_counter()
        index.held(prompt, workers)
        seconds.append(time.perf_counter() - started)
    assert sorted(seconds)[100] <= 5 * 50e-6
