"""A planner that fails leaves the plan in force; what was decided can be replayed."""

import asyncio
import sys
import time

import pytest

from cascadia_sglang.capacity.service_placement import capacity_of
from cascadia_sglang.capacity.types import Capacity
from cascadia_sglang.controller.controller import Controller
from cascadia_sglang.controller.decision import replay_log
from cascadia_sglang.controller.monitor import Monitor, Timing
from cascadia_sglang.controller.move_price import MovePrice
from cascadia_sglang.controller.mover import Mover
from cascadia_sglang.controller.traffic_change import Change
from cascadia_sglang.errors import PlanError, PlanTimeoutError
from cascadia_sglang.metrics.counters import Metrics
from cascadia_sglang.planner.online.plan_process import ask_planner
from cascadia_sglang.planner.online.plan_request import PlanRequest
from cascadia_sglang.planner.online.proposal import Proposal
from tests.unit.controller.fakes import Router, Workers
from tests.unit.controller.windows import make_config, plan_asked, requests, tiers

TO_LARGE = {"small": Capacity(replicas=1), "large": Capacity(replicas=2)}
ONE_LARGE = {"large": Capacity(replicas=1)}
GAIN = Proposal(pools=TO_LARGE, current_s=9.0, predicted_s=1.0, solve_s=0.1)


class Planner:
    """Answers or raises as it is told; counts."""

    def __init__(self, answer: Proposal | Exception) -> None:
        self.answer = answer
        self.requests: list[PlanRequest] = []

    async def __call__(self, request: PlanRequest, deadline_s: float) -> Proposal:
        assert deadline_s == 60.0
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class QuietableMonitor(Monitor):
    """A monitor that sees no change from when it is told so."""

    is_quiet = False

    def check(self, now: float) -> list[Change]:
        return [] if self.is_quiet else super().check(now)


def make(
    planner: Planner,
    tmp_path,
    *,
    changed: bool = True,
    workers: Workers | None = None,
    clock: Clock | None = None,
):
    """A controller in front of a minute of traffic, whose rate rose at its end."""
    clock = clock or Clock()
    workers = workers or Workers()
    config = make_config(cooldown_s=600.0)
    mover = Mover(workers, Router(), config, Metrics(()))
    now = clock()
    timing = Timing(look_s=10.0, reference_s=40.0, recent_s=(10.0,))
    monitor = QuietableMonitor(timing, now - 60.0)
    slow = [past for past in requests(600, 5.0, 0.5, now - 60.0) if past.at_s < now - 10.0]
    fast = requests(900, 80.0 if changed else 5.0, 0.5, now - 11.0, seed=1)
    for past in [*slow, *(past for past in fast if past.at_s < now)]:
        monitor.arrived(past.at_s)
        monitor.add(past)
        monitor.ended(past.at_s, past.seconds)
    log = tmp_path / "log.jsonl"
    controller = Controller(config, tiers(), mover, monitor, planner, Metrics(()), log, clock)
    return controller, workers, mover, log


def test_a_change_with_a_gain_moves_and_then_it_cools_down(tmp_path):
    planner = Planner(GAIN)
    controller, _, mover, log = make(planner, tmp_path)
    entry = asyncio.run(controller.check())
    assert (entry.decision.verdict, entry.decision.reason) == ("move", "gain")
    assert [change.quantity for change in entry.situation.changes] == ["rate"]
    assert entry.outcome is not None
    assert entry.outcome.startswith("moved in ")
    assert capacity_of(mover.running()) == TO_LARGE
    assert planner.requests[0].pools == {
        "small": Capacity(replicas=2),
        "large": Capacity(replicas=1),
    }
    again = asyncio.run(controller.check())
    assert (again.decision.reason, len(planner.requests)) == ("no_change", 1)
    assert [e.decision for e, _ in replay_log(log.read_bytes())] == [entry.decision, again.decision]
    assert all(entry.decision == decision for entry, decision in replay_log(log.read_bytes()))


def test_the_planner_is_told_what_comes_and_not_what_is_finished(tmp_path):
    planner = Planner(GAIN)
    controller, _, _, _ = make(planner, tmp_path)
    entry = asyncio.run(controller.check())
    times = planner.requests[0].arrival_s_R
    assert (len(times) - 1) / times[-1] == pytest.approx(entry.situation.rate_per_s, rel=0.05)
    assert entry.situation.rate_per_s == pytest.approx(80.0, rel=0.2)


def test_the_first_move_is_priced_by_the_starts_of_the_server_itself(tmp_path):
    planner = Planner(GAIN)
    workers = Workers()
    workers.start_s = {"small": 40.0, "large": 240.0}
    controller, _, _, _ = make(planner, tmp_path, workers=workers)
    entry = asyncio.run(controller.check())
    assert planner.requests[0].start_s == workers.start_s
    # A large worker starts on a free device, then a small one stops.
    assert entry.situation.move == MovePrice(starts=1, stops=1, moving_s=241.0)
    rate = entry.situation.rate_per_s
    assert entry.decision.cost_s == pytest.approx(entry.situation.extra_s * rate * 241.0)


def test_without_a_change_nobody_is_asked(tmp_path):
    planner = Planner(GAIN)
    controller, workers, _, _ = make(planner, tmp_path, changed=False)
    entry = asyncio.run(controller.check())
    assert entry.decision.reason == "no_change"
    assert planner.requests == []
    assert workers.log == []


@pytest.mark.parametrize("failure", [PlanError("it ended"), PlanTimeoutError("late")])
def test_a_planner_that_fails_leaves_the_plan_in_force(tmp_path, failure):
    planner = Planner(failure)
    controller, workers, _, _ = make(planner, tmp_path)
    entry = asyncio.run(controller.check())
    assert entry.decision.reason == f"no_plan: {failure}"
    assert workers.log == []
    # The change is still there, so the next look asks again.
    planner.answer = GAIN
    assert asyncio.run(controller.check()).decision.verdict == "move"


def test_where_nothing_is_gained_it_plans_again_until_the_change_is_old(tmp_path):
    """The first window after a change still holds traffic of before it."""
    no_gain = Proposal(pools=TO_LARGE, current_s=2.0, predicted_s=1.9, solve_s=0.1)
    planner = Planner(no_gain)
    clock = Clock()
    controller, _, _, _ = make(planner, tmp_path, clock=clock)
    begun = clock()
    reasons = []
    for later_s in (0.0, 0.1, 20.0, 20.1):
        clock.now_s = begun + later_s
        reasons.append(asyncio.run(controller.check()).decision.reason)
    # Two recent spans later the traffic of now is the reference.
    assert reasons[:2] == ["gain_within_model_error"] * 2
    assert reasons[3] == "no_change"
    planner.answer = GAIN
    controller, _, _, _ = make(planner, tmp_path)
    planner.answer = no_gain
    asyncio.run(controller.check())
    planner.answer = GAIN
    assert asyncio.run(controller.check()).decision.verdict == "move"


def test_a_move_is_followed_up_by_a_plan_for_what_came_after_it(tmp_path):
    """The plan that a change brings is made while traffic of before it is in the window."""
    planner = Planner(GAIN)
    clock = Clock()
    controller, _, mover, log = make(planner, tmp_path, clock=clock)
    moved = asyncio.run(controller.check())
    assert moved.decision.verdict == "move"
    begun = clock()
    for request in requests(900, 80.0, 0.5, begun + 590.0, seed=2):
        controller.monitor.arrived(request.at_s)
        controller.monitor.add(request)
    planner.answer = Proposal(
        pools={"small": Capacity(replicas=3), "large": Capacity(replicas=1)},
        current_s=9.0,
        predicted_s=1.0,
        solve_s=0.1,
    )
    reasons = []
    # Nothing within the cool-down of 600 s, one plan after it, though nothing has changed.
    for later_s in (599.0, 601.0, 602.0, 1300.0):
        clock.now_s = begun + later_s
        controller.monitor.is_quiet = True
        reasons.append(asyncio.run(controller.check()).decision.reason)
    assert reasons == ["cooling_down", "gain", "no_change", "no_change"]
    assert len(planner.requests) == 2
    assert capacity_of(mover.running()) == planner.answer.pools
    assert all(entry.decision == decision for entry, decision in replay_log(log.read_bytes()))


def test_a_plan_that_somebody_else_brought_is_for_the_traffic_from_then_on(tmp_path):
    planner = Planner(GAIN)
    controller, _, mover, _ = make(planner, tmp_path)
    asyncio.run(mover.move(TO_LARGE))
    entry = asyncio.run(controller.check())
    assert (entry.decision.reason, planner.requests) == ("no_change", [])
    assert entry.situation.moved_at_s == entry.situation.at_s


def test_a_plan_that_does_not_fit_the_server_is_none(tmp_path):
    nine = Proposal(
        pools={"small": Capacity(replicas=9)}, current_s=9.0, predicted_s=1.0, solve_s=0.1
    )
    controller, workers, _, _ = make(Planner(nine), tmp_path)
    entry = asyncio.run(controller.check())
    assert entry.decision.reason == "no_plan: 10 devices are needed, there are 4"
    assert workers.log == []


def test_a_move_that_is_undone_is_noted_and_cools_down_too(tmp_path):
    controller, _, mover, _ = make(Planner(GAIN), tmp_path, workers=Workers(fails=(1,)))
    entry = asyncio.run(controller.check())
    assert entry.outcome == "undone: it did not start"
    assert mover.number == 1
    assert capacity_of(mover.running()) == {"small": Capacity(replicas=2), **ONE_LARGE}


def ask(code: str, deadline_s: float = 10.0) -> Proposal:
    """Ask a process that runs this code in the planner's place."""
    return asyncio.run(ask_planner(plan_asked(0.5), deadline_s, (sys.executable, "-c", code)))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended with -9"),
        ("raise SystemExit('no luck')", "ended with 1: no luck"),
        ("print('nonsense')", "said no plan"),
        ("print('{}')", "said no plan"),
        (
            'print(\'{"pools": {"small": {"replicas": 1}, "large": {"replicas": 9}},'
            ' "current_s": 1, "predicted_s": 1, "solve_s": 0}\')',
            "10 devices of 4",
        ),
        (
            'print(\'{"pools": {"small": {"replicas": 0}, "large": {"replicas": 1}},'
            ' "current_s": 1, "predicted_s": 1, "solve_s": 0}\')',
            "small has 0 replicas",
        ),
        (
            'print(\'{"pools": {"small": {"replicas": 1}, "large": {"replicas": 1}},'
            ' "thresholds": [1.5], "current_s": 1, "predicted_s": 1, "solve_s": 0}\')',
            r"its thresholds are \(1\.5,\), allowed: 0 to 1",
        ),
    ],
    ids=["killed", "failed", "nonsense", "empty", "too-many", "none", "thresholds"],
)
def test_whatever_the_planners_process_does_is_one_line(code, message):
    with pytest.raises(PlanError, match=message):
        ask(code)


def test_a_planner_that_hangs_is_ended_at_the_deadline():
    started = time.monotonic()
    with pytest.raises(PlanTimeoutError, match=r"no plan within 0\.3 s"):
        ask("import time; time.sleep(600)", 0.3)
    assert time.monotonic() - started < 10.0


def test_a_planner_that_does_not_start_is_no_plan() -> None:
    with pytest.raises(PlanError, match="the planner did not start"):
        asyncio.run(ask_planner(plan_asked(0.5), 5.0, ("/nowhere/python",)))


def test_the_real_planner_process_plans():
    proposal = asyncio.run(ask_planner(plan_asked(0.9), 120.0))
    assert proposal.pools["large"].replicas == 3
    assert proposal.solve_s > 0.0


def test_a_log_that_cannot_be_written_takes_no_decision_back(tmp_path, caplog):
    controller, _, mover, log = make(Planner(GAIN), tmp_path)
    log.mkdir()
    entry = asyncio.run(controller.check())
    assert entry.outcome is not None
    assert entry.outcome.startswith("moved")
    assert capacity_of(mover.running()) == TO_LARGE
    assert controller.summary()["outcome"] == entry.outcome
    assert f"planner.log {log} was not written" in caplog.text
