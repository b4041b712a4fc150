"""Workloads: what is refused with one line, and what a rate does to one."""

import math

import numpy as np
import pytest

from cascadia_sglang.errors import WorkloadError
from cascadia_sglang.planner.workload.workload import build_workload, poisson_arrivals_s


@pytest.mark.parametrize(
    ("arrival_s", "input_tokens", "output_tokens", "says"),
    [
        ([], [], [], "has 0 requests, a rate needs 2 or more"),
        ([1.0], [5], [5], "has 1 requests, a rate needs 2 or more"),
        ([2.0, 2.0], [5, 5], [5, 5], "come at the same time"),
        ([0.0, math.nan], [5, 5], [5, 5], "request 1: the timestamp is nan"),
        ([0.0, 1.0], [5, math.nan], [5, 5], "request 1: input_tokens is nan"),
        ([0.0, 1.0], [5, 5], [0, 5], "request 0: output_tokens is 0"),
        ([0.0, 1.0], [5], [5, 5], "differ in number"),
        ([0.0, 1.0], [5, 1e30], [5, 5], r"request 1: input_tokens is 1e\+30, allowed: 1 to"),
        ([0.0, 1.0], [5, 2 * 10**9], [5, 5], r"request 1: input_tokens is 2e\+09, allowed: 1 to"),
    ],
)
def test_a_workload_that_says_nothing_is_one_clear_line(
    arrival_s, input_tokens, output_tokens, says
):
    with pytest.raises(WorkloadError, match=says) as caught:
        build_workload(arrival_s, input_tokens, output_tokens)
    assert "\n" not in str(caught.value)


def test_requests_are_put_in_order_of_arrival_with_their_lengths_and_blocks():
    load = build_workload([7.0, 5.0], [1, 2], [3, 4], hash_ids=[[9], [8, 9]], block_tokens=16)
    assert load.arrival_s_R.tolist() == [0.0, 2.0]
    assert load.input_tokens_R.tolist() == [2, 1]
    assert load.output_tokens_R.tolist() == [4, 3]
    assert load.block_starts_R.tolist() == [0, 2, 3]
    assert load.blocks_P.tolist() == [0, 1, 1]


def test_another_rate_keeps_order_and_burstiness():
    load = build_workload([0.0, 1.0, 4.0], [1, 1, 1], [1, 1, 1])
    assert load.rate_per_s == pytest.approx(0.5)
    faster = load.at_rate(2.0)
    assert faster.rate_per_s == pytest.approx(2.0)
    assert faster.arrival_s_R.tolist() == pytest.approx([0.0, 0.25, 1.0])


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_a_rate_that_is_none_is_refused(rate):
    load = build_workload([0.0, 1.0], [1, 1], [1, 1])
    with pytest.raises(WorkloadError, match="allowed: finite, above 0"):
        load.at_rate(rate)
    with pytest.raises(WorkloadError, match="allowed: finite, above 0"):
        poisson_arrivals_s(rate, 10, 0)


def test_poisson_arrivals_have_their_rate_and_belong_to_their_seed():
    arrival_s = poisson_arrivals_s(20.0, 20_000, seed=3)
    assert len(arrival_s) / arrival_s[-1] == pytest.approx(20.0, rel=0.03)
    assert np.array_equal(arrival_s, poisson_arrivals_s(20.0, 20_000, seed=3))
    assert not np.array_equal(arrival_s, poisson_arrivals_s(20.0, 20_000, seed=4))


def test_thinning_draws_requests_in_their_order_with_their_prefixes():
    load = build_workload(
        range(50), range(10, 60), [5] * 50, hash_ids=[[number % 3] for number in range(50)]
    )
    thinned = load.thinned(20, seed=1)
    assert len(thinned) == 20
    assert (np.diff(thinned.input_tokens_R) > 0).all()
    rows = thinned.input_tokens_R - 10
    assert (np.diff(thinned.arrival_s_R) == np.diff(rows)).all()
    # Ids are numbered anew, equal ones stay equal.
    same = thinned.blocks_P[:, None] == thinned.blocks_P
    assert (same == (rows % 3 == (rows % 3)[:, None])).all()
    assert thinned.blocks_P[0] == 0
    assert load.thinned(50) is load
    assert (load.thinned(20, seed=1).arrival_s_R == thinned.arrival_s_R).all()


@pytest.mark.parametrize(("tokens", "count"), [(10, 1000), (600, 400), (60_000, 200)])
def test_long_answers_make_a_simulation_of_fewer_requests(tokens, count):
    load = build_workload([0, 1], [1, 1], [tokens, tokens])
    assert load.count_within(1000, 240_000) == count
