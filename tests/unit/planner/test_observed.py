"""Prefix ids of prompts whose tokens are characters."""

from bench.planner.observed import prefix_ids


def test_equal_prefixes_have_equal_ids_and_no_others():
    first, second, third = prefix_ids(["add 1", "add 2", "mul 1"], [6, 6, 6])
    assert first[:4] == second[:4]
    assert first[4] != second[4]
    assert not set(third) & {*first, *second}
    assert len(first) == 5


def test_the_marker_at_the_end_is_nobodys_prefix():
    (ids,) = prefix_ids(["ab"], [3])
    assert len(ids) == 2
