"""The three parts of a sample."""

import numpy as np

from cascadia_sglang.calibration.split import PARTS, part_of, split_sample
from tests.unit.calibration.pools import make_pool


def test_every_prompt_is_in_one_part_and_the_parts_are_thirds() -> None:
    pool = make_pool(3_000)
    parts = split_sample(pool)
    ids = [parts.fit.ids, parts.choose.ids, parts.certify.ids]
    assert sorted(id_ for own in ids for id_ in own) == sorted(pool.ids)
    assert all(900 < len(own) < 1100 for own in ids)


def test_a_part_depends_on_the_id_alone() -> None:
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
