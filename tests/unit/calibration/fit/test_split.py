"""The three parts of a sample."""

import dataclasses
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascadia_sglang.calibration.fit.split import PARTS, part_of, split_sample
from cascadia_sglang.calibration.record.pool import Pool
from tests.unit.calibration.pools import make_pool


def test_every_prompt_is_in_one_part_and_the_parts_are_thirds() -> None:
    pool = make_pool(3_000)
    parts = split_sample(pool)
    ids = [parts.fit.ids, parts.choose.ids, parts.certify.ids]
    assert sorted(id_ for part_ids in ids for id_ in part_ids) == sorted(pool.ids)
    assert all(900 < len(part_ids) < 1100 for part_ids in ids)


def test_a_part_depends_on_the_prompt_alone() -> None:
    pool = make_pool(300)
    fewer = split_sample(pool.take(np.arange(0, 300, 2)))
    assert set(fewer.certify.ids) <= set(split_sample(pool).certify.ids)
    # From `b2sum --length 64` of the same bytes.
    digests = {"q0": 0, "q1": 2, "a": 2, "\N{SNOWMAN}": 1}
    assert {name: PARTS.index(part_of(name)) for name in digests} == digests


def test_rows_stay_together() -> None:
    pool = make_pool(60)
    part = split_sample(pool).choose
    for row, prompt_id in enumerate(part.ids):
        index = pool.ids.index(prompt_id)
        np.testing.assert_array_equal(
            part.tiers[1].features_NF[row], pool.tiers[1].features_NF[index]
        )
        assert part.groups[row] == pool.groups[index]
        assert part.tiers[2].right_N[row] == pool.tiers[2].right_N[index]


def in_parts(pool: Pool) -> dict[str, set[str]]:
    """The parts that each prompt key is in."""
    parts_by_key: dict[str, set[str]] = {}
    parts = split_sample(pool)
    for part in PARTS:
        for key in getattr(parts, part).prompt_keys:
            parts_by_key.setdefault(key, set()).add(part)
    return parts_by_key


@given(st.lists(st.integers(0, 8), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_equal_prompts_stay_in_one_part_in_any_order_and_among_any_others(
    numbers: list[int], random: Random
) -> None:
    pool = dataclasses.replace(
        make_pool(len(numbers)), prompt_keys=tuple(f"p{number}" for number in numbers)
    )
    whole = in_parts(pool)
    assert all(len(parts) == 1 for parts in whole.values())
    assert pool.repeats == len(numbers) - len(set(numbers))
    rows = list(range(len(numbers)))
    random.shuffle(rows)
    some = pool.take(np.array(rows[: len(rows) // 2 + 1]))
    assert in_parts(some).items() <= whole.items()
    both = Pool.concatenated([some, pool])
    assert in_parts(both) == whole


def test_a_salt_divides_anew_and_keeps_equal_prompts_together() -> None:
    pool = make_pool(300)
    pool = dataclasses.replace(pool, prompt_keys=pool.prompt_keys[:150] * 2)
    salted = in_parts(pool.salted("7"))
    assert all(len(parts) == 1 for parts in salted.values())
    moved = sum(salted[f"7:{key}"] != parts for key, parts in in_parts(pool).items())
    assert moved == pytest.approx(100, abs=30)
