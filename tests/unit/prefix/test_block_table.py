"""The table against a brute-force set of pairs, below the index: slots, bound, wrap-around."""

import itertools
import random

import numpy as np
import pytest

from cascadia_sglang.prefix.block_table import FIRST_BUCKETS, FULLEST, BlockTable, _home

MOST, LEAST = 2**63 - 1, -(2**63)
LAST = FIRST_BUCKETS - 1
# The ends of what a uint16 holds besides 0, which stands for a free place.
SLOTS = (1, 2, 3, 32_768, 65_535)

Pairs = set[tuple[int, int]]


def held(pairs: Pairs, hashes: list[int], slot: int) -> int:
    return sum(1 for _ in itertools.takewhile(lambda block: (block, slot) in pairs, hashes))


def pool_of(rng: random.Random, size: int) -> list[int]:
    """Hashes of which many point to one place, of every slot; some of them neighbours."""
    crowded = [(rng.getrandbits(20) << 40) | rng.randrange(8) for _ in range(size)]
    neighbours = list(range(-size // 4, size // 4))
    return [MOST, LEAST, *neighbours, *crowded]


def check(table: BlockTable, pairs: Pairs, hashes: list[int]) -> None:
    counts = table.held(np.array(hashes, np.int64), np.array(SLOTS, np.uint16)).tolist()
    assert counts == [held(pairs, hashes, slot) for slot in SLOTS]
    assert table.pairs == len(pairs)


@pytest.mark.parametrize("seed", range(4))
def test_many_thousand_operations_leave_what_a_set_of_pairs_holds(seed: int) -> None:
    rng = random.Random(seed)
    pool = pool_of(rng, 1500)
    table, pairs, most = BlockTable(10**6), Pairs(), 0
    for _ in range(5000):
        slot, chosen, what = rng.choice(SLOTS), rng.choices(pool, k=rng.randrange(24)), rng.random()
        if what < 0.6:
            assert table.insert(np.array(chosen, np.int64), slot) == 0
            pairs |= {(block, slot) for block in chosen}
        elif what < 0.999:
            table.delete(np.array(chosen, np.int64), slot)
            pairs -= {(block, slot) for block in chosen}
        else:
            table.delete_slot(slot)
            pairs = {pair for pair in pairs if pair[1] != slot}
        most = max(most, len(pairs))
        check(table, pairs, rng.choices(pool, k=4))
        # What is held in a row shows a run that a deletion broke.
        check(table, pairs, [block for block, of in itertools.islice(pairs, 8) if of == slot])
    assert most > FULLEST * FIRST_BUCKETS, "the table never grew"


@pytest.mark.parametrize("seed", range(4))
def test_at_the_bound_each_new_pair_is_counted_and_room_is_used_again(seed: int) -> None:
    """New pairs alone: what is refused of a batch that also names pairs it has is not said."""
    rng = random.Random(seed)
    bound, fresh = 700, itertools.count()
    table, pairs, refusals = BlockTable(bound), Pairs(), 0
    for _ in range(1500):
        slot = rng.choice(SLOTS)
        if rng.random() < 0.6:
            chosen = list(itertools.islice(fresh, rng.randrange(40)))
            room = bound - len(pairs)
            refused = table.insert(np.array(chosen, np.int64), slot)
            assert refused == max(0, len(chosen) - room)
            refusals += refused
            pairs |= {(block, slot) for block in chosen[:room]}
        else:
            chosen = [block for block, of in itertools.islice(pairs, 60) if of == slot]
            table.delete(np.array(chosen, np.int64), slot)
            pairs -= {(block, slot) for block in chosen}
        check(table, pairs, chosen)
    assert refusals > 0


@pytest.mark.parametrize("start", range(0, 60, 7))
def test_a_run_over_the_end_of_the_array_is_closed_up_wherever_a_hole_is(start: int) -> None:
    """Sixty pairs whose home is the last place: but for one they lie at the beginning."""
    ends = (block for block in itertools.count() if _home(block, 1, FIRST_BUCKETS) == LAST)
    crowd = np.array(list(itertools.islice(ends, 60)))
    table, slot = BlockTable(10**6), np.array([1], np.uint16)
    table.insert(crowd, 1)
    assert table._slot_B[[*range(60), LAST]].tolist() == [*[1] * 59, 0, 1]
    gone = crowd[start::3]
    table.delete(gone, 1)
    remaining = np.setdiff1d(crowd, gone)
    assert table.held(remaining, slot).tolist() == [len(remaining)]
    assert [table.held(block_hash, slot)[0] for block_hash in gone[:, None]] == [0] * len(gone)


def test_a_pair_named_twice_in_a_batch_is_one_and_goes_once() -> None:
    table = BlockTable(100)
    assert table.insert(np.array([5, 5, 6, 5]), 1) == 0
    assert table.pairs == 2
    table.delete(np.array([5, 5, 7]), 1)
    assert table.pairs == 1
    table.delete(np.array([6]), 2)
    assert table.pairs == 1


def test_an_empty_question_and_an_empty_table_hold_nothing() -> None:
    none, slots = np.array([], np.int64), np.array(SLOTS, np.uint16)
    table = BlockTable(100)
    assert table.held(np.array([0, 1]), slots).tolist() == [0] * len(SLOTS)
    table.insert(np.array([0]), 1)
    assert table.held(none, slots).tolist() == [0] * len(SLOTS)
    assert table.held(np.array([0]), slots[:0]).tolist() == []
    table.insert(none, 1)
    table.delete(none, 1)
    assert table.pairs == 1


def test_deleting_a_slot_leaves_the_blocks_of_others_where_they_are_found() -> None:
    table, hashes = BlockTable(10**6), np.random.default_rng(0).integers(LEAST, MOST, 3000)
    for slot in SLOTS:
        table.insert(hashes, slot)
    table.delete_slot(2)
    counts = table.held(hashes, np.array(SLOTS, np.uint16)).tolist()
    assert counts == [3000, 0, 3000, 3000, 3000]
    assert table.pairs == 4 * 3000
