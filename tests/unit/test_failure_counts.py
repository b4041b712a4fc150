"""Which failures are logged."""

from cascadia_sglang.failure_counts import is_logged


def test_the_first_failure_is_logged_and_then_fewer_and_fewer() -> None:
    assert [count for count in range(1, 12_345) if is_logged(count)] == [1, 10, 100, 1_000, 10_000]
