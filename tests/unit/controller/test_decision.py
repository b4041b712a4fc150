"""The verdict, its reasons, and the log that leads to the same verdicts again."""

import msgspec
import pytest

from cascadia_sglang.capacity.types import Capacity
from cascadia_sglang.config.settings import PlannerConfig
from cascadia_sglang.controller.decision import LogEntry, Rules, Situation, decide, replay_log
from cascadia_sglang.controller.move_price import MovePrice
from cascadia_sglang.controller.traffic_change import Change
from cascadia_sglang.planner.online.proposal import PredictedQuality, Proposal

CHANGE = Change(quantity="rate", p_bound=1e-9, before=1.0, now=2.0)
PROPOSAL = Proposal(
    pools={"small": Capacity(replicas=1)}, current_s=4.0, predicted_s=2.0, solve_s=0.1
)
# 2 s for 3 requests a second are gained over the 595 s of 600 that a move of 5 s leaves. The move
# costs 1 s for as many while it lasts.
WORTH_IT = Situation(
    at_s=1000.0,
    changes=[CHANGE],
    rate_per_s=3.0,
    moved_at_s=None,
    extra_s=1.0,
    rules=Rules(horizon_s=600.0, cooldown_s=60.0, model_error=0.1),
    proposal=PROPOSAL,
    move=MovePrice(starts=1, stops=1, moving_s=5.0, idle_devices=1, idle_device_s=4.0),
)
# A card's large model: four minutes from the stop to the start.
SLOW = MovePrice(starts=1, stops=1, moving_s=241.0, idle_devices=4, idle_device_s=960.0)


def test_a_gain_above_the_cost_moves_and_both_are_told():
    decision = decide(WORTH_IT)
    assert (decision.verdict, decision.reason) == ("move", "gain")
    assert (decision.gain_s, decision.cost_s) == (3570.0, 15.0)


@pytest.mark.parametrize(
    ("differs", "reason"),
    [
        ({"changes": []}, "no_change"),
        ({"moved_at_s": 941.0}, "cooling_down"),
        ({"proposal": None, "failure": "no plan within 2 s"}, "no_plan: no plan within 2 s"),
        ({"move": MovePrice()}, "same_plan"),
        (
            {"proposal": msgspec.structs.replace(PROPOSAL, predicted_s=3.7)},
            "gain_within_model_error",
        ),
        ({"extra_s": 250.0}, "gain_below_cost"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_it_stays_and_says_why(differs, reason):
    decision = decide(msgspec.structs.replace(WORTH_IT, **differs))
    assert (decision.verdict, decision.reason) == ("stay", reason)


@pytest.mark.parametrize(
    "differs",
    [
        {"changes": [], "is_followed_up": True},
        {"move": MovePrice(starts=1)},
        {"move": MovePrice(stops=1)},
        {"move": MovePrice(), "proposal": msgspec.structs.replace(PROPOSAL, thresholds=(0.5,))},
    ],
    ids=["followed up", "starts", "stops", "thresholds"],
)
def test_one_thing_that_changes_is_enough_to_move(differs):
    decision = decide(msgspec.structs.replace(WORTH_IT, **differs))
    assert (decision.verdict, decision.reason) == ("move", "gain")


def test_it_tells_the_numbers_of_a_move_that_it_does_not_make():
    slight = msgspec.structs.replace(PROPOSAL, predicted_s=3.75)
    decision = decide(msgspec.structs.replace(WORTH_IT, proposal=slight))
    assert (decision.verdict, decision.gain_s, decision.cost_s) == ("stay", 446.25, 15.0)


@pytest.mark.parametrize(
    ("current", "predicted", "verdict", "reason"),
    [
        (0.79, 0.8, "move", "quality"),
        (0.79, 0.79, "stay", "gain_within_model_error"),
        (0.8, 0.9, "stay", "gain_within_model_error"),
    ],
)
def test_a_move_that_restores_the_quality_is_made_whatever_it_costs(
    current, predicted, verdict, reason
):
    quality = PredictedQuality(floor=0.8, current=current, predicted=predicted, effective_size=9.0)
    slower = msgspec.structs.replace(PROPOSAL, predicted_s=4.5, quality=quality)
    decision = decide(msgspec.structs.replace(WORTH_IT, proposal=slower))
    assert (decision.verdict, decision.reason) == (verdict, reason)
    assert (decision.gain_s, decision.cost_s) == (-892.5, 15.0)


def test_the_rules_are_those_that_the_settings_name():
    settings = PlannerConfig()
    assert (Rules().horizon_s, Rules().cooldown_s) == (settings.horizon_s, settings.cooldown_s)


def test_devices_that_stand_still_cost_what_requests_wait_for_them():
    waited = msgspec.structs.replace(PROPOSAL, interim_extra_s=10.0)
    decision = decide(msgspec.structs.replace(WORTH_IT, proposal=waited, move=SLOW))
    # 2 s x 3/s x (600 - 241) s, against 10 s x 3/s x 240 s.
    assert (decision.gain_s, decision.cost_s) == (2154.0, 7200.0)
    assert (decision.verdict, decision.reason) == ("stay", "gain_below_cost")


def test_a_long_start_leaves_less_of_the_horizon_to_gain_in():
    decision = decide(msgspec.structs.replace(WORTH_IT, move=SLOW))
    # Nobody waits for these devices: what is left are 1 s x 3/s x 241 s of disturbance.
    assert (decision.verdict, decision.gain_s, decision.cost_s) == ("move", 2154.0, 723.0)


def test_a_start_longer_than_the_horizon_gains_nothing():
    forever = MovePrice(starts=1, stops=1, moving_s=700.0)
    decision = decide(msgspec.structs.replace(WORTH_IT, move=forever))
    assert (decision.verdict, decision.gain_s) == ("stay", 0.0)


@pytest.mark.parametrize("moved_at_s", [940.0, 480.0])
def test_after_the_cool_down_it_moves_again(moved_at_s):
    assert decide(msgspec.structs.replace(WORTH_IT, moved_at_s=moved_at_s)).verdict == "move"


def test_a_gain_that_only_covers_the_cost_is_none():
    decision = decide(msgspec.structs.replace(WORTH_IT, extra_s=238.0))
    assert decision.gain_s == decision.cost_s == 3570.0
    assert (decision.verdict, decision.reason) == ("stay", "gain_below_cost")


@pytest.mark.parametrize(
    ("rules", "predicted_s", "verdict"),
    [
        (Rules(model_error=0.5), 2.0, "stay"),
        (Rules(model_error=0.5), 1.9, "move"),
        # A tenth, where nobody says more.
        (Rules(), 3.7, "stay"),
        (Rules(), 3.5, "move"),
    ],
)
def test_a_gain_must_exceed_what_a_prediction_may_be_off(rules, predicted_s, verdict):
    proposal = msgspec.structs.replace(PROPOSAL, predicted_s=predicted_s)
    decision = decide(msgspec.structs.replace(WORTH_IT, rules=rules, proposal=proposal))
    assert decision.verdict == verdict


@pytest.mark.parametrize(("starts", "stops"), [(1, 0), (0, 1)])
def test_a_plan_that_only_starts_or_only_stops_moves_too(starts, stops):
    move = MovePrice(starts=starts, stops=stops, moving_s=5.0)
    assert decide(msgspec.structs.replace(WORTH_IT, move=move)).verdict == "move"


def test_without_a_plan_nothing_is_gained_or_lost():
    decision = decide(msgspec.structs.replace(WORTH_IT, proposal=None, failure="x"))
    assert (decision.gain_s, decision.cost_s) == (0.0, 0.0)


def test_the_log_replayed_gives_the_same_decisions():
    situations = [
        WORTH_IT,
        msgspec.structs.replace(WORTH_IT, changes=[]),
        msgspec.structs.replace(WORTH_IT, proposal=None, failure="x"),
    ]
    entries = [
        LogEntry(situation=situation, decision=decide(situation), outcome=None)
        for situation in situations
    ]
    log = b"\n".join(msgspec.json.encode(entry) for entry in entries)
    again = replay_log(log)
    assert [entry for entry, _ in again] == entries
    assert [entry.decision for entry, _ in again] == [decision for _, decision in again]
    # An entry that was tampered with shows.
    tampered = log.replace(b'"rate_per_s":3.0', b'"rate_per_s":0.0')
    assert any(entry.decision != decision for entry, decision in replay_log(tampered))
