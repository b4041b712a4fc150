"""How many tokens a speculative step verifies."""

import pytest

from cascadia_sglang.drafts.windows import EXPLORE, VerifyWindows


def run(windows: VerifyWindows, steps: int, requests: int, seconds, accepted: int) -> list[int]:
    """Steps of a device whose time depends on the rows, with so many tokens right in a row."""
    chosen = []
    for _ in range(steps):
        window = windows.choose(requests)
        windows.observe(window, seconds(requests * window), [min(accepted, window)] * requests)
        chosen.append(window)
    return chosen


def usual(chosen: list[int]) -> int:
    return max(set(chosen), key=chosen.count)


def flat(rows: int) -> float:
    """An idle device: every step takes the same time."""
    return 0.01 + 1e-6 * rows


def steep(rows: int) -> float:
    """A busy device: every row costs."""
    return 0.001 + 0.002 * rows


@pytest.mark.parametrize(
    ("most", "expected"), [(8, [1, 2, 4, 8]), (12, [1, 2, 4, 8, 12]), (1, [1])]
)
def test_the_windows_are_powers_of_two_and_the_widest(most: int, expected: list[int]) -> None:
    assert list(VerifyWindows(most).windows) == expected


def test_every_window_is_tried_first_from_the_widest() -> None:
    assert run(VerifyWindows(8), 4, 3, flat, 5) == [8, 4, 2, 1]


def test_an_idle_device_verifies_as_many_as_it_may() -> None:
    assert usual(run(VerifyWindows(8), 200, 4, flat, 8)) == 8


def test_a_busy_device_verifies_no_more_than_are_right() -> None:
    assert usual(run(VerifyWindows(8), 200, 16, steep, 1)) == 1
    assert usual(run(VerifyWindows(8), 200, 1, lambda rows: 0.01 + 0.002 * rows, 4)) == 4


def test_it_follows_the_load() -> None:
    """What is right for few requests is not for many."""
    windows = VerifyWindows(8)

    def device(rows: int) -> float:
        return 0.01 if rows <= 32 else 0.01 * (rows / 32) ** 2

    assert usual(run(windows, 100, 4, device, 8)) == 8
    assert usual(run(windows, 100, 32, device, 8)) == 1
    assert usual(run(windows, 100, 4, device, 8)) == 8


def test_it_learns_that_drafts_have_become_better() -> None:
    windows = VerifyWindows(8)
    device = lambda rows: 0.01 + 0.002 * rows  # noqa: E731
    assert usual(run(windows, 200, 1, device, 1)) == 1
    assert usual(run(windows, 20 * EXPLORE, 1, device, 8)[-5 * EXPLORE :]) == 8


def test_other_windows_are_tried_now_and_then() -> None:
    chosen = run(VerifyWindows(4), 10 * EXPLORE, 2, flat, 4)
    assert set(chosen[10:]) == {1, 2, 4}
    assert chosen.count(4) > 0.9 * len(chosen)
