"""Capacity goes where the window's requests need it."""

import dataclasses

import msgspec
import numpy as np
import pytest

from cascadia_sglang.capacity.blocks import Blocks
from cascadia_sglang.capacity.types import Capacity
from cascadia_sglang.controller.monitor import RecordedRequest, RecordedVisit
from cascadia_sglang.controller.window import Traffic, plan_request, window_tiers
from cascadia_sglang.errors import ConfigError, InfeasiblePlanError, WorkloadError
from cascadia_sglang.planner.online.plan_process import proposal_faults
from cascadia_sglang.planner.online.plan_request import PlanRequest
from cascadia_sglang.planner.online.propose import _interim_extra_s, propose
from cascadia_sglang.planner.online.window_simulation import WindowSimulation
from cascadia_sglang.planner.speed.profile import Profile, StepTimes
from tests.unit.controller.windows import (
    THRESHOLDS,
    make_config,
    plan_asked,
    pools,
    requests,
    serving,
    tiers,
)


@pytest.mark.parametrize("objective", ["path", "bottleneck"])
@pytest.mark.parametrize(("hard", "large"), [(0.02, 1), (0.9, 3)])
def test_hard_requests_bring_workers_to_the_large_tier(hard, large, objective):
    proposal = propose(plan_asked(hard, objective=objective))
    assert proposal.pools["large"].replicas == large
    assert proposal.pools["small"].replicas == 4 - large
    assert proposal.predicted_s <= proposal.current_s


def test_what_is_best_already_is_proposed_again_with_the_same_latency():
    proposal = propose(plan_asked(0.9, small=1))
    assert proposal.pools["large"].replicas == 3
    assert proposal.current_s == proposal.predicted_s


def test_an_overload_shows_by_what_it_comes_to_within_the_horizon():
    """Three seconds of requests hide it: the queue has hardly begun to grow."""
    window = requests(60, 20.0, 0.9)
    means = []
    for horizon_s in (3.0, 60.0):
        config = make_config(horizon_s=horizon_s)
        request = plan_request(
            config, tiers(large_ms=60.0), serving(3, 1), Traffic(requests=window, rate_per_s=20.0)
        )
        proposal = propose(request)
        assert proposal.pools["large"].replicas == 3
        means.append((proposal.current_s, proposal.predicted_s))
    (short_s, _), (long_s, best_s) = means
    assert long_s > 3 * short_s
    assert best_s < long_s / 2


def test_the_meanwhile_is_the_window_on_what_both_plans_have():
    request = msgspec.structs.replace(plan_asked(0.9, small=3), start_s={"large": 30.0})
    proposal = propose(request)
    assert proposal.pools == pools(1, 3)
    # Two large workers start, one after the other; meanwhile there is one of each.
    meanwhile = WindowSimulation(msgspec.structs.replace(request, horizon_s=60.0), None, 2)
    kept_s, now_s = (
        meanwhile.mean_s(["small", "large"], split, request.thresholds)
        for split in [(1, 1), (3, 1)]
    )
    assert proposal.interim_extra_s == kept_s - now_s > 0.0


def test_a_loss_that_lasts_longer_costs_more():
    """A worker alone falls behind for as long as its neighbour's device serves nobody."""
    extras = []
    for start_s in (30.0, 120.0):
        window = requests(300, 12.0, 0.02)
        request = plan_request(
            make_config(),
            tiers(20.0),
            serving(2, 2, start_s={"large": start_s}),
            Traffic(requests=window, rate_per_s=12.0),
        )
        extras.append(_interim_extra_s(request, None, ["small", "large"], (2, 2), (1, 3)))
    assert 0.0 < 2 * extras[0] < extras[1]


def test_a_plan_that_starts_nothing_loses_nothing_meanwhile():
    request = msgspec.structs.replace(plan_asked(0.9, small=1), start_s={"large": 30.0})
    assert propose(request).interim_extra_s == 0.0
    at_once = msgspec.structs.replace(plan_asked(0.9, small=3), start_s={})
    assert propose(at_once).interim_extra_s == 0.0


def test_the_more_simulations_a_plan_takes_the_less_often_the_window_comes_again():
    request = msgspec.structs.replace(plan_asked(0.5), horizon_s=1e6)
    sizes = [
        len(WindowSimulation(request, None, count)) for count in (1, 300, 600, 1_200, 2_400, 9_000)
    ]
    # Its 300 requests are cut to the newest, but not below 200.
    assert sizes == [3900, 1800, 900, 300, 250, 200]


def test_a_window_of_one_moment_has_no_rate():
    request = plan_asked(0.5)
    at_once = msgspec.structs.replace(request, arrival_s_R=[0.0] * len(request.arrival_s_R))
    with pytest.raises(WorkloadError, match="come at the same time"):
        propose(at_once)


def test_requests_are_planned_for_at_the_rate_at_which_they_come():
    """An overloaded server finishes fewer than come; by those it would look well served."""
    window = requests(300, 5.0, 0.9)
    request = plan_request(
        make_config(), tiers(), serving(3, 1), Traffic(requests=window, rate_per_s=20.0)
    )
    times = np.array(request.arrival_s_R)
    assert (len(times) - 1) / times[-1] == pytest.approx(20.0)
    alone = plan_request(
        make_config(), tiers(), serving(3, 1), Traffic(requests=window, rate_per_s=0.0)
    )
    assert times * alone.arrival_s_R[-1] / times[-1] == pytest.approx(np.array(alone.arrival_s_R))


def test_a_pool_that_was_dropped_stays_so():
    request = plan_asked(0.0, small=2)
    dropped = msgspec.structs.replace(request, pools=pools(2, 0))
    proposal = propose(dropped)
    assert proposal.pools == pools(4, 0)
    assert proposal_faults(dropped, proposal) == []


def test_a_request_survives_the_way_to_the_planner_process():
    request = plan_asked(0.5)
    assert msgspec.json.decode(msgspec.json.encode(request), type=PlanRequest) == request


def test_too_few_requests_are_no_window():
    with pytest.raises(WorkloadError, match="29 requests are too few"):
        plan_request(
            make_config(),
            tiers(),
            serving(2, 2),
            Traffic(requests=requests(29, 1.0, 0.5), rate_per_s=1.0),
        )


def test_a_budget_below_one_replica_a_pool_has_no_plan():
    request = msgspec.structs.replace(plan_asked(0.5), gpu_budget=1)
    with pytest.raises(InfeasiblePlanError):
        propose(request)


def test_a_profile_without_limits_is_refused():
    times = {tier.name: tier.times for tier in tiers()}
    profile = Profile(version=1, device="x", tiers=times)
    with pytest.raises(ConfigError, match=r"no limits of 'small', it has: none"):
        window_tiers(make_config(), profile, str, 1.0, "profile x")


def test_what_waits_for_the_large_tier_is_planned_for():
    """Easy requests come, but hard ones of before still wait; they are under way only once."""
    window = requests(300, 12.0, 0.02)
    waiting = [_climbing(number) for number in range(400)]
    config = make_config(objective="path", horizon_s=30.0)
    counts = []
    for climbing in ([], waiting):
        request = plan_request(
            config,
            tiers(),
            serving(2, 2),
            Traffic(requests=window, rate_per_s=12.0, climbing=climbing),
        )
        assert len(request.backlog_inputs_B) == len(climbing)
        assert all(row[0] == 0 and row[1] > 0 for row in request.backlog_tokens_BT)
        counts.append(propose(request).pools["large"].replicas)
    assert counts[0] == 1
    assert counts[1] > 1


def test_tiers_of_one_pool_share_its_workers():
    """Two workers for both are fewer than two for each; four for both queue less than those."""
    window = requests(300, 1.2, 1.0)
    tier_models = tiers(small_ms=20.0, large_ms=20.0)
    config = make_config(objective="path")
    apart = plan_request(
        config, tier_models, serving(2, 2), Traffic(requests=window, rate_per_s=1.2)
    )
    together = msgspec.structs.replace(
        apart,
        tiers=[msgspec.structs.replace(tier, pool="small") for tier in tier_models],
        pools={"small": Capacity(replicas=2)},
    )
    apart_s = WindowSimulation(apart, None, 1).mean_s(("small", "large"), (2, 2), THRESHOLDS)
    shared = WindowSimulation(together, None, 1)
    assert shared.mean_s(("small",), (2,), THRESHOLDS) > 1.5 * apart_s
    assert shared.mean_s(("small",), (4,), THRESHOLDS) < apart_s


def test_what_caches_hold_of_the_prompts_is_not_planned_for():
    """Long prompts would fill the large tier; found in its cache, they leave it as it is."""
    window = requests(300, 4.0, 0.4)
    slow = [
        msgspec.structs.replace(
            tier, times=StepTimes(decode_ms=tier.times.decode_ms, prefill_ms=[(1, 1.0), (1000, ms)])
        )
        for tier, ms in zip(tiers(large_ms=10.0), (10.0, 2_000.0), strict=True)
    ]
    larges, shares = [], []
    for cached in (0, 950):
        for request in window:
            request.input_tokens = 1000
            request.visits = tuple(
                dataclasses.replace(
                    visit, prompt_tokens=1000, cached_tokens=cached if visit.tier_index else 0
                )
                for visit in request.visits
            )
        planned = plan_request(
            make_config(objective="path"),
            slow,
            serving(2, 2),
            Traffic(requests=window, rate_per_s=4.0),
        )
        shares.append(planned.cached_share_T)
        larges.append(propose(planned).pools["large"].replicas)
    assert shares == [[0.0, 0.0], [0.0, 0.95]]
    assert larges[0] == 3 > larges[1]


def test_what_is_kept_of_drafts_is_not_planned_for():
    """Answers that the large tier writes whole fill it; where it keeps most, they do not."""
    window = requests(300, 12.0, 0.4)
    quick = [
        msgspec.structs.replace(
            tier,
            times=StepTimes(decode_ms=tier.times.decode_ms, prefill_ms=[(1, 1.0), (1000, 1000.0)]),
        )
        for tier in tiers(large_ms=60.0)
    ]
    larges, shares = [], []
    for kept_tokens in (None, 18):
        for request in window:
            request.visits = tuple(
                dataclasses.replace(visit, kept_tokens=kept_tokens if visit.tier_index else None)
                for visit in request.visits
            )
        planned = plan_request(
            make_config(objective="path"),
            quick,
            serving(2, 2),
            Traffic(requests=window, rate_per_s=12.0),
        )
        shares.append(planned.kept_share_T)
        larges.append(propose(planned).pools["large"].replicas)
    assert shares == [[None, None], [None, 0.9]]
    assert larges[0] > larges[1]


def test_requests_of_which_nothing_is_known_are_like_the_newest():
    window = requests(300, 12.0, 0.5)
    request = plan_request(
        make_config(),
        tiers(),
        serving(2, 2),
        Traffic(requests=window, rate_per_s=12.0, unseen=3),
    )
    assert request.backlog_tokens_BT == request.tokens_RT[:-4:-1]
    assert (
        len(WindowSimulation(request, None, 1))
        == len(
            WindowSimulation(
                msgspec.structs.replace(request, backlog_inputs_B=[], backlog_tokens_BT=[]), None, 1
            )
        )
        + 3
    )


def _climbing(number: int) -> RecordedRequest:
    visit = RecordedVisit(
        tier_index=0, score=0.2, output_tokens=20, seconds=0.5, prompt_tokens=30, cached_tokens=0
    )
    return RecordedRequest(
        at_s=float(number), seconds=0.5, input_tokens=30, visits=(visit,), is_open=True
    )


def test_a_block_takes_the_devices_of_one_and_its_pools_change_together():
    shared = plan_request(
        make_config(),
        tiers(),
        serving(2, 2, blocks=Blocks(groups=(("large", "small"),))),
        Traffic(requests=requests(60, 8.0, 0.5), rate_per_s=8.0),
    )
    proposal = propose(shared)
    assert {pool.replicas for pool in proposal.pools.values()} == {4}
    # No gain of overlap: four cards of both are no better than the sum of four of each.
    free = msgspec.structs.replace(
        shared, tiers=[msgspec.structs.replace(tier, block=None) for tier in shared.tiers]
    )
    apart = WindowSimulation(free, None, 1)
    assert apart.mean_s(("small", "large"), (4, 4), THRESHOLDS) < proposal.predicted_s
    assert plan_asked(0.5).blocks == []


def test_sharing_that_no_move_may_change_is_not_planned_for():
    with pytest.raises(InfeasiblePlanError, match="small share devices in a way that no move"):
        plan_request(
            make_config(),
            tiers(),
            serving(2, 2, blocks=Blocks(fixed=frozenset({"small"}))),
            Traffic(requests=requests(60, 8.0, 0.5), rate_per_s=8.0),
        )
