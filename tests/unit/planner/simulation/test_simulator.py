"""The simulator against schedules worked out by hand, and against what must hold of any load."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascadia_sglang.errors import WorkloadError
from cascadia_sglang.planner.simulation.paths import Paths, climbing_paths, direct_paths
from cascadia_sglang.planner.simulation.simulator import simulate
from cascadia_sglang.planner.simulation.tiers import SimulatedTier
from cascadia_sglang.planner.speed.profile import EngineLimits, HostTimes, StepTimes
from cascadia_sglang.planner.workload.slo import Slo
from cascadia_sglang.planner.workload.workload import build_workload, poisson_arrivals_s

# A decoding step takes 10 ms whatever it holds, a prefill 100 ms.
FLAT = StepTimes(decode_ms=[(1, 10.0), (1000, 10.0)], prefill_ms=[(1, 100.0), (100_000, 100.0)])
GROWING = StepTimes(decode_ms=[(1, 10.0), (64, 20.0)], prefill_ms=[(1, 5.0), (1000, 100.0)])


def _limits(**changes) -> EngineLimits:
    return EngineLimits(**{"kv_tokens": 10_000, "max_running_requests": 64, **changes})


def _tier(times=FLAT, replicas=1, share=1.0, stages=1, **changes) -> SimulatedTier:
    return SimulatedTier(
        name="tier",
        times=times,
        limits=_limits(**changes),
        replicas=replicas,
        share=share,
        stages=stages,
    )


def _e2e_s(arrival_s, tokens, tier, *, inputs=None, limit=None, hash_ids=(), block=512):
    load = build_workload(
        arrival_s,
        inputs or [10] * len(arrival_s),
        tokens,
        hash_ids=hash_ids,
        block_tokens=block,
    )
    return simulate(load, direct_paths(load, limit), [tier]).e2e_s_R.tolist()


@pytest.mark.parametrize(
    ("tokens", "limit", "is_blocking", "seconds"),
    [
        (3, None, False, 0.12),
        (3, 50, False, 0.12),
        # On a CPU a result is seen after the next batch; a limit is known beforehand.
        (3, None, True, 0.12),
        (3, 50, True, 0.13),
        (1, None, True, 0.10),
        (1, 50, True, 0.11),
    ],
)
def test_a_lone_request_takes_its_prefill_and_its_steps(tokens, limit, is_blocking, seconds):
    tier = _tier(is_blocking=is_blocking)
    assert _e2e_s([0, 9], [tokens] * 2, tier, limit=limit) == pytest.approx([seconds] * 2)


def test_a_prefill_goes_before_the_decoding_of_those_that_run():
    # The second comes during the first's decoding and stops it from 0.13 to 0.23; its token is seen
    # after the step that follows.
    e2e_s = _e2e_s([0, 0.125], [10, 1], _tier(is_blocking=True))
    assert e2e_s == pytest.approx([0.19 + 0.1, 0.115])


def test_a_device_of_its_own_schedules_one_batch_ahead():
    # At 0.125 the step until 0.13 runs and the one until 0.14 is scheduled already.
    e2e_s = _e2e_s([0, 0.125], [10, 1], _tier(is_blocking=False))
    assert e2e_s == pytest.approx([0.19 + 0.1, 0.115])


def test_prompts_that_wait_share_a_prefill():
    assert _e2e_s([0, 0.01, 0.02], [1, 1, 1], _tier(is_blocking=True)) == pytest.approx(
        [0.2, 0.19, 0.18]
    )


def test_no_more_run_than_may():
    # The first is prefilled alone, the second stops it for 100 ms, the third waits for both.
    tier = _tier(is_blocking=True, max_running_requests=2)
    e2e_s = _e2e_s([0, 0, 0, 50], [5, 5, 5, 1], tier)
    assert e2e_s[:3] == pytest.approx([0.24, 0.24, 0.38])


def test_a_long_prompt_is_cut_into_chunks():
    tier = _tier(is_blocking=True, chunked_prefill_tokens=100)
    e2e_s = _e2e_s([0, 50], [1, 1], tier, inputs=[250, 100])
    assert e2e_s == pytest.approx([0.3, 0.1])


def test_a_waiting_prompt_fills_the_rest_of_a_last_chunk():
    tier = _tier(is_blocking=True, chunked_prefill_tokens=100)
    e2e_s = _e2e_s([0, 0.001, 50], [1, 1, 1], tier, inputs=[150, 50, 10])
    assert e2e_s[:2] == pytest.approx([0.2, 0.199])


def test_a_full_memory_retracts_the_one_with_the_fewest_tokens():
    load = build_workload([0, 0.2, 50], [40, 40, 5], [55, 55, 1])
    tier = _tier(is_blocking=True, kv_tokens=170, new_token_ratio=0.1)
    outcome = simulate(load, direct_paths(load, 60), [tier])
    (replica,) = outcome.replicas
    assert replica.retracted == 1
    assert outcome.is_done.all()
    # The first goes on without a break but for two prefills; the second runs again after it.
    assert outcome.e2e_s_R[0] < outcome.e2e_s_R[1]


def test_a_shared_prefix_is_computed_once():
    inputs, ids = [1000, 1000, 1000], [[0, 1], [0, 1], [0, 2]]
    load = build_workload([0, 10, 20], inputs, [1, 1, 1], hash_ids=ids, block_tokens=500)
    (replica,) = simulate(load, direct_paths(load), [_tier()]).replicas
    # Of a prompt that is known whole its last token is computed again.
    assert replica.hit_tokens == 999 + 500
    assert replica.prefill_tokens == 3000 - 1499


def test_what_a_tier_holds_of_its_prompts_is_not_computed():
    tier = dataclasses.replace(_tier(GROWING), cached_share=0.75)
    load = build_workload([0, 10], [400, 400], [1, 1])
    outcome = simulate(load, direct_paths(load), [tier])
    (replica,) = outcome.replicas
    assert (replica.hit_tokens, replica.prefill_tokens) == (600, 200)
    alone = build_workload([0, 10], [100, 100], [1, 1])
    plain = simulate(alone, direct_paths(alone), [_tier(GROWING)])
    assert outcome.e2e_s_R == pytest.approx(plain.e2e_s_R)
    assert outcome.e2e_s_R[0] < 0.02 < _e2e_s([0, 10], [1, 1], _tier(GROWING), inputs=[400] * 2)[0]


def test_what_a_tier_holds_of_its_prompts_takes_memory():
    """Prefills of one length: all that a cached share could change is who fits beside whom."""
    load = build_workload([0, 0.01], [600, 600], [3, 3])
    plain = _tier(kv_tokens=1000)
    cached = dataclasses.replace(plain, cached_share=0.9)
    seconds = [simulate(load, direct_paths(load), [tier]).e2e_s_R for tier in (plain, cached)]
    assert seconds[0] == pytest.approx(seconds[1])
    roomy = dataclasses.replace(_tier(kv_tokens=2000), cached_share=0.9)
    assert simulate(load, direct_paths(load), [roomy]).e2e_s_R[0] > seconds[0][0]


def test_block_ids_tell_better_than_a_share_what_is_held():
    tier = dataclasses.replace(_tier(), cached_share=1.0)
    load = build_workload([0, 10], [500, 500], [1, 1], hash_ids=[[0], [1]], block_tokens=500)
    (replica,) = simulate(load, direct_paths(load), [tier]).replicas
    assert replica.hit_tokens == 0


def test_a_cache_that_is_full_forgets_what_was_used_longest_ago():
    ids = [[0], [1], [0], [2], [1], [0]]
    count = len(ids)
    load = build_workload(
        range(0, 10 * count, 10), [500] * count, [1] * count, hash_ids=ids, block_tokens=500
    )
    (replica,) = simulate(load, direct_paths(load), [_tier(kv_tokens=1100)]).replicas
    # 0 is found again, 2 drives 1 out, 1 drives 0 out.
    assert replica.hit_tokens == 499


def test_the_replica_with_the_fewest_attempts_is_chosen():
    tier = _tier(replicas=2, is_blocking=True, max_running_requests=1)
    e2e_s = _e2e_s([0, 0, 0.15, 50], [50, 1, 1, 1], tier)
    assert e2e_s[:3] == pytest.approx([0.59, 0.1, 0.1])


def test_half_a_device_takes_twice_as_long():
    assert _e2e_s([0, 9], [3, 3], _tier(share=0.5)) == pytest.approx([0.24, 0.24])


def test_the_stages_of_a_pipeline_have_a_batch_each():
    tier = _tier(stages=2, is_blocking=True, max_running_requests=2)
    # Both have a lane; the third waits for the first to end.
    assert _e2e_s([0, 0, 0.01, 50], [3, 3, 3, 1], tier)[:3] == pytest.approx([0.12, 0.12, 0.23])


def test_a_prompt_that_does_not_fit_is_refused_and_counts_against_attainment():
    load = build_workload([0, 1, 2], [10, 20_000, 10], [5, 5, 5])
    outcome = simulate(load, direct_paths(load), [_tier()])
    assert outcome.is_done.tolist() == [True, False, True]
    assert outcome.attainment(Slo(e2e_ms=1000)) == pytest.approx(2 / 3)
    assert math.isnan(outcome.e2e_s_R[1])


def test_attainment_counts_requests_that_meet_every_target():
    load = build_workload([0, 5, 10, 15], [10] * 4, [1, 11, 21, 31])
    outcome = simulate(load, direct_paths(load), [_tier()])
    # E2E 100, 200, 300, 400 ms; TTFT 100; TPOT 0 for a single token, else 10.
    assert outcome.attainment(Slo(e2e_ms=300.001)) == 0.75
    assert outcome.attainment(Slo(ttft_ms=99)) == 0.0
    assert outcome.attainment(Slo(tpot_ms=9.9)) == 0.25
    assert outcome.attainment(Slo(ttft_ms=101, tpot_ms=10.1, e2e_ms=201)) == 0.5
    assert outcome.attainment(Slo()) == 1.0


def test_a_request_climbs_until_a_score_is_enough_and_pays_every_attempt():
    paths = climbing_paths(
        [[0.9, 0.0], [0.2, 0.0], [0.2, 0.0]],
        [[3, 2], [3, 2], [9, 2]],
        [0.5],
        100,
        abort_tokens_RT=[[0, 0], [0, 0], [4, 0]],
    )
    assert paths.last_tier_R.tolist() == [0, 1, 1]
    load = build_workload([0, 10, 20], [10] * 3, [1] * 3)
    host = HostTimes(receive_ms=1, respond_ms=2, escalate_ms=4, wire_ms=8)
    outcome = simulate(load, paths, [_tier(), _tier()], host=host, is_buffered=True)
    attempt_s = 0.001 + 0.120 + 0.008 + 0.002
    assert outcome.e2e_s_R == pytest.approx(
        [attempt_s, attempt_s + 0.004 + 0.110 + 0.008, attempt_s + 0.010 + 0.004 + 0.110 + 0.008]
    )
    assert outcome.ttft_s_R.tolist() == outcome.e2e_s_R.tolist()
    assert np.isnan(outcome.attempt_e2e_s_RT[0, 1])


def test_an_aborted_attempt_never_answers_whatever_its_score():
    paths = climbing_paths([[0.9, 0.0]], [[9, 2]], [0.5], 100, abort_tokens_RT=[[4, 0]])
    assert paths.last_tier_R.tolist() == [1]
    assert paths.tokens_RT.tolist() == [[4, 2]]


def test_tiers_of_one_pool_wait_for_each_other_on_its_workers():
    paths = Paths(
        first_tier_R=np.array([0, 1]),
        last_tier_R=np.array([0, 1]),
        tokens_RT=np.array([[3, 1], [1, 3]]),
        limit_tokens_R=np.array([3, 3]),
    )
    load = build_workload([0, 0.05], [10, 10], [1, 1])
    pools = [_tier(is_blocking=True, max_running_requests=1)] * 2
    apart = simulate(load, paths, pools)
    assert apart.e2e_s_R == pytest.approx([0.12, 0.12])
    together = simulate(load, paths, [dataclasses.replace(tier, pool="p") for tier in pools])
    assert len(together.replicas) == 1
    assert together.e2e_s_R == pytest.approx([0.12, 0.12 + 0.12 - 0.05])
    assert together.summary()["tiers"][1]["busy"] is None


def test_on_a_shared_host_two_busy_workers_on_one_core_take_twice_as_long():
    paths = Paths(
        first_tier_R=np.array([0, 1]),
        last_tier_R=np.array([0, 1]),
        tokens_RT=np.array([[1, 1], [1, 1]]),
        limit_tokens_R=np.array([1, 1]),
    )
    load = build_workload([0, 0.05], [10, 10], [1, 1])
    outcome = simulate(load, paths, [_tier(), _tier()], host=HostTimes(shared_cores=1))
    # Alone until 0.05; then both at half speed until the first ends at 0.15.
    assert outcome.e2e_s_R == pytest.approx([0.15, 0.15])


LOADS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10_000),
        "count": st.integers(2, 60),
        "rate": st.sampled_from([0.5, 5.0, 50.0, 500.0]),
        "kv_tokens": st.integers(420, 5000),
        "max_running_requests": st.integers(1, 12),
        "chunked_prefill_tokens": st.sampled_from([None, 16, 64]),
        "is_blocking": st.booleans(),
        "replicas": st.integers(1, 3),
        "cores": st.sampled_from([0.0, 1.0, 2.0]),
        "block": st.sampled_from([1, 8, 32]),
    }
)


def simulation_of(load, block=None, rate=None):
    """Requests, their paths, two tiers and a host; with a block, both tiers share devices."""
    random = np.random.default_rng(load["seed"])
    count = load["count"]
    inputs = random.integers(1, 200, count)
    answers = random.integers(1, 80, (count, 2))
    ids = [list(range(first, first + 3)) for first in random.integers(0, 9, count)]
    workload = build_workload(
        poisson_arrivals_s(rate or load["rate"], count, load["seed"]),
        inputs,
        answers[:, 0],
        hash_ids=[
            request_ids[: int(n // load["block"])]
            for request_ids, n in zip(ids, inputs, strict=True)
        ],
        block_tokens=load["block"],
    )
    paths = climbing_paths(random.random((count, 2)), answers, [0.5], 100)
    names = ("kv_tokens", "max_running_requests", "chunked_prefill_tokens", "is_blocking")
    limits = {name: load[name] for name in names}
    tiers = [
        dataclasses.replace(_tier(GROWING, replicas, **limits), block=block)
        for replicas in (load["replicas"], 1 if block is None else load["replicas"])
    ]
    host = HostTimes(
        receive_ms=1, respond_ms=1, escalate_ms=1, wire_ms=2, shared_cores=load["cores"]
    )
    return workload, paths, tiers, host


def _simulated(load, rate=None):
    workload, paths, tiers, host = simulation_of(load, rate=rate)
    return workload, paths, simulate(workload, paths, tiers, host=host)


@settings(max_examples=80, deadline=None)
@given(LOADS)
def test_no_request_is_lost_and_no_work_either(load):
    workload, paths, outcome = _simulated(load)
    assert outcome.is_done.all()
    visited = np.arange(2) <= paths.last_tier_R[:, None]
    assert np.array_equal(np.isfinite(outcome.attempt_e2e_s_RT), visited)
    assert (outcome.ttft_s_R <= outcome.e2e_s_R + 1e-9).all()
    prompts = sum(r.prefill_tokens + r.hit_tokens for r in outcome.replicas)
    rows = sum(r.row_steps for r in outcome.replicas)
    prompt_tokens = int((workload.input_tokens_R[:, None] * visited).sum())
    tokens = int((paths.tokens_RT * visited).sum())
    retracted = sum(r.retracted for r in outcome.replicas)
    if retracted == 0:
        assert prompts == prompt_tokens
    assert prompts >= prompt_tokens
    # Every token takes a row of a step; what is more are chunks, and steps after an answer's end.
    chunks = prompts // (load["chunked_prefill_tokens"] or 10**9)
    assert tokens <= rows
    if retracted == 0:
        assert rows <= tokens + int(visited.sum()) * 2 + chunks + len(workload)
    # Nothing is faster than the shortest steps of its own, the front's work and the wire.
    steps_s = ((0.005 + 0.010 * (paths.tokens_RT - 1)) * visited).sum(axis=1)
    host_s = 0.002 + 0.002 * visited.sum(axis=1) + 0.001 * (visited.sum(axis=1) - 1)
    assert (outcome.e2e_s_R >= steps_s + host_s - 1e-9).all()


@settings(max_examples=30, deadline=None)
@given(LOADS)
def test_the_same_input_gives_the_same_times_to_the_bit(load):
    first, second = _simulated(load)[2], _simulated(load)[2]
    assert np.array_equal(first.e2e_s_R, second.e2e_s_R)
    assert first.replicas == second.replicas


@settings(max_examples=40, deadline=None)
@given(LOADS)
def test_a_higher_load_takes_no_less_time_on_average(load):
    """Batching lets single requests gain from company by the length of a step or two."""
    slow, fast = (_simulated({**load, "cores": 0.0}, rate)[2].mean_s() for rate in (0.05, 200.0))
    assert fast >= slow - 0.05


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"replicas": 0}, "0 replicas of 1 stages"),
        ({"share": math.nan}, "nan of a device"),
        ({"stages": 0}, "of 0 stages"),
    ],
)
def test_a_tier_that_cannot_serve_is_one_line(changes, says):
    load = build_workload([0, 1], [1, 1], [1, 1])
    with pytest.raises(WorkloadError, match=says):
        simulate(load, direct_paths(load), [_tier(**changes)])


def test_scores_that_are_not_numbers_are_refused():
    with pytest.raises(WorkloadError, match="not finite"):
        climbing_paths([[math.nan, 0.0]], [[1, 1]], [0.5], 10)
    with pytest.raises(WorkloadError, match="2 thresholds differ"):
        climbing_paths([[0.1, 0.0]], [[1, 1]], [0.5, 0.5], 10)


def test_a_draft_is_prefilled_and_what_is_kept_of_it_is_not_decoded():
    load = build_workload([0.0, 90.0], [100, 100], [40, 40])
    paths = climbing_paths([[0.0, 1.0]] * 2, [[20, 40]] * 2, [0.5], 64)
    # A millisecond a prefilled token, ten a step.
    times = StepTimes(decode_ms=[(1, 10.0), (64, 10.0)], prefill_ms=[(1, 1.0), (1000, 1000.0)])
    small, large = _tier(times), _tier(times)
    anew = simulate(load, paths, [small, large]).attempt_e2e_s_RT[0, 1]
    assert anew == pytest.approx(0.1 + 39 * 0.01)
    for share, kept_tokens in ((0.0, 0), (0.5, 10), (1.0, 20)):
        reading = dataclasses.replace(large, kept_share=share)
        result = simulate(load, paths, [small, reading])
        assert result.attempt_e2e_s_RT[0, 1] == pytest.approx(0.12 + (39 - kept_tokens) * 0.01)
        assert result.replicas[1].prefill_tokens == 240
        assert result.attempt_ttft_s_RT[0, 1] == pytest.approx(0.12)


def test_a_draft_as_long_as_the_answer_leaves_a_token_to_write():
    load = build_workload([0.0, 90.0], [100, 100], [8, 8])
    paths = climbing_paths([[0.0, 1.0]] * 2, [[30, 8]] * 2, [0.5], 64)
    reading = dataclasses.replace(_tier(), kept_share=1.0)
    result = simulate(load, paths, [_tier(), reading])
    assert result.attempt_e2e_s_RT[0, 1] == pytest.approx(0.1)


def test_no_draft_goes_to_the_tier_where_a_request_begins():
    load = build_workload([0.0, 90.0], [100, 100], [40, 40])
    paths = dataclasses.replace(
        climbing_paths([[0.0, 1.0]] * 2, [[20, 40]] * 2, [0.5], 64), first_tier_R=np.array([1, 1])
    )
    reading = dataclasses.replace(_tier(), kept_share=1.0)
    result = simulate(load, paths, [_tier(), reading])
    assert result.replicas[1].prefill_tokens == 200


def test_a_draft_that_a_request_brings_is_read_by_its_first_tier():
    load = build_workload([0.0, 90.0], [100, 100], [40, 40])
    whole = climbing_paths([[0.0, 1.0]] * 2, [[20, 40]] * 2, [0.5], 64)
    alone = dataclasses.replace(
        direct_paths(load), draft_tokens_R=np.array([20, 20]), limit_tokens_R=np.array([64, 64])
    )
    reading = dataclasses.replace(_tier(), kept_share=0.5)
    above = simulate(load, whole, [_tier(), reading]).attempt_e2e_s_RT[:, 1]
    result = simulate(load, alone, [reading])
    assert result.attempt_e2e_s_RT[:, 0] == pytest.approx(above)
    assert result.replicas[0].prefill_tokens == 240
    # One that reads none has nothing of it.
    anew = simulate(load, alone, [_tier()])
    assert anew.replicas[0].prefill_tokens == 200


def test_speculation_divides_the_time_of_an_answer_by_its_tokens_a_step():
    """Three requests of four rows each, of which two tokens are right in a step."""
    plain = StepTimes(decode_ms=[(1, 10.0), (3, 20.0)], prefill_ms=[(1, 1.0)])
    speculative = StepTimes(
        decode_ms=[(4, 10.0), (12, 20.0)],
        prefill_ms=[(1, 1.0)],
        draft_rows=4,
        tokens_per_step=2.0,
    )
    arrival_s = [0.0, 1e-6, 2e-6]
    slow = _e2e_s(arrival_s, [41] * 3, _tier(plain))
    fast = _e2e_s(arrival_s, [41] * 3, _tier(speculative))
    # The prefill and what is known of it a step later take no part.
    assert (slow[0] - 0.001) / (fast[0] - 0.001) == pytest.approx(2.0, rel=0.05)
