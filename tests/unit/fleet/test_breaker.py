"""When a pool of workers is passed over, and when a lost worker is started again."""

import pytest

from cascadia_sglang.fleet.recovery import OPEN_S, WINDOW_S, Breaker


def tripped() -> Breaker:
    """Opened at 4 seconds."""
    breaker = Breaker()
    for second in range(5):
        breaker.fault(float(second))
    return breaker


def test_delays_double_from_50_ms_to_30_s() -> None:
    breaker = Breaker()
    delays = [breaker.fault(0.0) for _ in range(12)]
    assert delays[:4] == [0.05, 0.1, 0.2, 0.4]
    assert delays[9:] == [25.6, 30.0, 30.0]


def test_a_quiet_minute_makes_the_next_delay_short_again() -> None:
    breaker = Breaker()
    for _ in range(4):
        breaker.fault(0.0)
    assert breaker.fault(WINDOW_S) == 0.8
    assert breaker.fault(2 * WINDOW_S + 0.1) == 0.05


def test_five_faults_within_a_minute_open_it() -> None:
    breaker = Breaker()
    for second in range(4):
        breaker.fault(float(second))
        assert not breaker.is_open(float(second))
    breaker.fault(59.0)
    assert breaker.is_open(59.0)


def test_five_faults_over_more_than_a_minute_do_not() -> None:
    breaker = Breaker()
    for number in range(10):
        now = number * WINDOW_S / 4 + number
        breaker.fault(now)
        assert not breaker.is_open(now)


def test_it_closes_after_half_a_minute() -> None:
    breaker = tripped()
    assert breaker.is_open(4.0 + OPEN_S - 0.1)
    assert not breaker.is_open(4.0 + OPEN_S)


@pytest.mark.parametrize(("after_s", "is_open"), [(1.0, True), (WINDOW_S, True), (61.0, False)])
def test_one_fault_on_trial_opens_it_again(after_s: float, is_open: bool) -> None:
    breaker = tripped()
    now = 4.0 + OPEN_S + after_s - 0.5
    breaker.fault(now)
    assert breaker.is_open(now) is is_open


# A worker that came back, and faults that one request explains


def test_an_answer_of_a_worker_that_came_back_closes_it() -> None:
    breaker = tripped()
    breaker.answered(5.0)
    assert not breaker.is_open(5.0)
    # And it is not on trial: four more faults leave it closed.
    for second in range(4):
        breaker.fault(6.0 + second)
    assert not breaker.is_open(10.0)


def test_an_answer_of_a_worker_from_before_the_faults_proves_nothing() -> None:
    breaker = tripped()
    breaker.answered(1.0)
    assert breaker.is_open(5.0)


def test_answers_between_faults_do_not_keep_it_from_opening() -> None:
    breaker = Breaker()
    for second in range(5):
        breaker.fault(float(second))
        if second < 4:
            breaker.answered(second + 0.5)
    assert breaker.is_open(4.0)


def test_a_fault_that_is_forgiven_counts_no_longer() -> None:
    breaker = tripped()
    breaker.forgive(4.0)
    assert not breaker.is_open(4.0)
    breaker.forgive(3.0)
    breaker.fault(5.0)
    assert not breaker.is_open(5.0)
    breaker.fault(6.0)
    assert breaker.is_open(6.0)


def test_forgiving_one_of_many_faults_leaves_it_open() -> None:
    breaker = tripped()
    breaker.fault(4.5)
    breaker.forgive(4.5)
    assert breaker.is_open(5.0)
    breaker.forgive(99.0)
    assert breaker.is_open(5.0)
